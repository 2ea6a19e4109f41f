fn handler(message: kombu::Message) {
    message.ack();
    message.ack();
}

fn main() {}
