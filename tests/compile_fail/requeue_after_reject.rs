fn handler(message: kombu::Message) {
    message.reject();
    message.requeue();
}

fn main() {}
