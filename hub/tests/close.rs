//! Closing drops everything that was handed in, and wakes whoever sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use common::{DropCounter, Log, PATIENCE, errors_of, tick};
use kombu_core::ErrorKind;
use kombu_core::hub::{Hub, Progress};
use kombu_hub::MioHub;

#[test]
fn everything_handed_in_is_dropped() {
    let hub = MioHub::new().unwrap();
    let (counter, drops) = DropCounter::new();
    let (here, _there) = UnixStream::pair().unwrap();
    let (mut source, _peer) = mio::net::UnixStream::pair().unwrap();
    let mut handed_in = 0;
    let mut one = || {
        handed_in += 1;
        counter.clone()
    };
    let kept = one();
    hub.call_later(PATIENCE, move |_| drop(kept));
    let kept = one();
    hub.call_repeatedly(PATIENCE, move |_| _ = &kept);
    let kept = one();
    hub.on_tick(move |_| _ = &kept);
    let kept = one();
    hub.add_reader(&here, move |_| _ = &kept).unwrap();
    let kept = one();
    hub.add_source(&mut source, mio::Interest::READABLE, move |_, _| {
        let _ = &kept;
        Progress::Drained
    })
    .unwrap();
    let kept = one();
    let task = hub.spawn_local(async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
    tick(&hub, 2);
    let kept = one();
    let not_started = hub.spawn_local(async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
    assert_eq!(drops.get(), 0);
    hub.close();
    assert!(hub.is_closed());
    assert_eq!(drops.get(), handed_in);
    for task in [task, not_started] {
        let mut task = pin!(task);
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
            _ => panic!("the task's handle does not know that the hub closed"),
        }
    }
    hub.close();
}

#[test]
fn goodbyes_run_in_order_and_their_last_wishes_once() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let (first, second, soon, gone) = (log.clone(), log.clone(), log.clone(), log.clone());
    hub.call_soon(move |_| soon.add("was ready"));
    hub.on_close(move |hub| {
        first.add("first");
        assert!(!hub.handle().is_closed());
        let wish = first.clone();
        hub.call_soon(move |hub| {
            wish.add("last wish");
            let wish = wish.clone();
            hub.call_soon(move |_| wish.add("one wish too many"));
        });
    });
    hub.io().on_close(Box::new(move |_| second.add("second")));
    let removed = hub.on_close(move |_| gone.add("removed"));
    assert!(hub.remove_hook(removed));
    drop(hub);
    assert_eq!(log.take(), ["first", "second", "was ready", "last wish"]);
}

#[test]
fn a_goodbye_may_wait_for_an_answer() {
    let hub = MioHub::new().unwrap();
    let log = Log::new();
    let copy = log.clone();
    hub.on_close(move |hub| {
        let (sender, answer) = kombu_core::reply::channel();
        hub.io().call_soon(Box::new(move |_| sender.send(())));
        let hub: &dyn Hub = hub;
        let answered = hub.wait_io(pin!(async { answer.await.unwrap() }), Some(hub.now() + PATIENCE)).unwrap();
        copy.add(answered);
    });
    drop(hub);
    assert_eq!(log.take(), [true]);
}

#[test]
fn afterwards_nothing_is_taken() {
    let hub = MioHub::new().unwrap();
    let handle = hub.handle();
    let (counter, drops) = DropCounter::new();
    hub.close();
    assert!(handle.is_closed());
    let kept = counter.clone();
    hub.call_soon(move |_| drop(kept));
    let kept = counter.clone();
    hub.call_later(Duration::ZERO, move |_| drop(kept)).cancel();
    let kept = counter.clone();
    drop(hub.spawn_local(async move { drop(kept) }));
    assert_eq!(drops.get(), 3);
    handle.call_soon(|_| panic!("ran on a closed hub"));
    let mut reply = pin!(handle.spawn(async { 1 }));
    let polled = reply.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, std::task::Poll::Ready(None));
    let (here, _there) = UnixStream::pair().unwrap();
    let kinds = [
        hub.add_reader(&here, |_| ()).unwrap_err().kind(),
        hub.run_once(None).unwrap_err().kind(),
        hub.run_forever().unwrap_err().kind(),
        hub.block_on(async {}).unwrap_err().kind(),
        Hub::wait_io(&hub, pin!(async {}), None).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 5]);
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn sleepers_wake_up() {
    let hub = MioHub::new().unwrap();
    let mut sleep = pin!(hub.handle().sleep(Duration::from_secs(3600)));
    let count = Arc::new(CountWakes(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    assert!(sleep.as_mut().poll(&mut context).is_pending());
    hub.close();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(sleep.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_callback_closes_the_hub_it_runs_on() {
    let hub = MioHub::new().unwrap();
    let errors = errors_of(&hub);
    let log = Log::new();
    let (copy, goodbye) = (log.clone(), log.clone());
    hub.on_close(move |_| goodbye.add("closed"));
    hub.call_soon(move |hub| {
        hub.close();
        assert!(hub.is_closed());
        assert_eq!(hub.io().wait_io(pin!(std::future::pending()), None).unwrap_err().kind(), ErrorKind::Closed);
        copy.add("callback ends");
    });
    hub.run_forever().unwrap();
    assert_eq!(log.take(), ["callback ends", "closed"]);
    assert!(hub.handle().is_closed());
    assert_eq!(errors.len(), 0);
}

#[test]
fn a_task_woken_by_another_thread_while_the_hub_closes_is_dropped_here() {
    for _ in 0..200 {
        let hub = MioHub::new().unwrap();
        let (counter, drops) = DropCounter::new();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        drop(hub.spawn_local(async move {
            let _counter = counter;
            std::future::poll_fn(|context| {
                sender.send(context.waker().clone()).unwrap();
                std::task::Poll::<()>::Pending
            })
            .await;
        }));
        tick(&hub, 1);
        let waker = receiver.recv().unwrap();
        let thread = std::thread::spawn(move || {
            for _ in 0..50 {
                waker.wake_by_ref();
            }
        });
        drop(hub);
        assert_eq!(drops.get(), 1);
        thread.join().unwrap();
    }
}
