//! Waiting for many answers at once, so that what is asked goes out together.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// A future, and what it returned.
type Running<F> = (Pin<Box<F>>, Option<<F as Future>::Output>);

/// Drives all `futures`, which begin in this order, to their ends and returns what they returned.
pub(crate) async fn together<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Running<F>> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut are_done = true;
        for (future, output) in running.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(done) => *output = Some(done),
                Poll::Pending => are_done = false,
            }
        }
        if are_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn all_begin_before_one_has_ended_and_answers_keep_their_order() {
        let begun = std::cell::RefCell::new(Vec::new());
        let is_open = std::cell::Cell::new(false);
        let (begun, is_open) = (&begun, &is_open);
        let numbered = |number: u32| async move {
            begun.borrow_mut().push(number);
            std::future::poll_fn(|_| if is_open.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            number * 10
        };
        let mut all = Box::pin(together((1..4).map(numbered)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(all.as_mut().poll(&mut cx).is_pending());
        assert_eq!(*begun.borrow(), [1, 2, 3]);
        is_open.set(true);
        assert_eq!(all.as_mut().poll(&mut cx), Poll::Ready(vec![10, 20, 30]));
        assert_eq!(
            Box::pin(together(Vec::<std::future::Ready<()>>::new())).as_mut().poll(&mut cx),
            Poll::Ready(vec![])
        );
    }
}
