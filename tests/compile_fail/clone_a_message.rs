fn handler(message: &kombu::Message) -> kombu::Message {
    kombu::Message::clone(message)
}

fn main() {}
