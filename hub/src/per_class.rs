//! One of something for each class of work.

use kombu_core::hub::Class;

/// A value for the I/O class and one for the user class.
#[derive(Debug, Default)]
pub(crate) struct PerClass<T> {
    io: T,
    user: T,
}

impl<T> PerClass<T> {
    pub(crate) fn of(&self, class: Class) -> &T {
        match class {
            Class::Io => &self.io,
            Class::User => &self.user,
        }
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Io => &mut self.io,
            Class::User => &mut self.user,
        }
    }
}

/// Both classes, in the order in which the hub serves them.
pub(crate) const CLASSES: [Class; 2] = [Class::Io, Class::User];
