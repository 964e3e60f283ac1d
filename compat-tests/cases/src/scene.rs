//! What a case works with: the runtime under test, tasks, threads, and a way to say what it is about to do.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crate::blackbox::Blackbox;
use crate::subject::{Abilities, Root, Subject, Task};
use crate::tasks::{self, Handle};

/// One case on one subject. Clones are the same scene, and may go to other threads.
#[derive(Clone)]
pub struct Scene {
    subject: Arc<dyn Subject>,
    blackbox: Blackbox,
}

impl Scene {
    pub(crate) fn new(subject: Arc<dyn Subject>, blackbox: Blackbox) -> Scene {
        Scene { subject, blackbox }
    }

    /// Runs the runtime under test on this thread until `root` ends. Tasks that it cannot spawn are polled beside
    /// `root`.
    ///
    /// # Panics
    /// With the panic of `root`; also if the runtime gives up before `root` has ended.
    pub fn run<T: 'static>(&self, root: impl Future<Output = T> + 'static) -> T {
        let output = Rc::new(RefCell::new(None));
        let there = output.clone();
        self.run_root(Box::pin(async move {
            let value = tasks::in_company(root).await;
            *there.borrow_mut() = Some(value);
        }));
        let value = output.borrow_mut().take();
        value.expect("the runtime returned before its root future ended")
    }

    /// Runs exactly this future, with nothing of ours around it.
    pub fn run_root(&self, root: Root) {
        self.subject.run(root);
    }

    /// Spawns a task, or leaves it to the root future if the runtime cannot. Call it in the root future.
    /// A panic of the task comes out where the handle is awaited.
    pub fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (task, handle) = tasks::with_handle(future, self.blackbox.clone());
        let task: Task = Box::pin(task);
        if let Err(task) = self.subject.spawn(task) {
            tasks::join_root(task);
        }
        handle
    }

    /// The same for a future that must stay on this thread. Call it in the root future.
    pub fn spawn_local<F: Future + 'static>(&self, future: F) -> Handle<F::Output> {
        let (task, handle) = tasks::with_handle(future, self.blackbox.clone());
        if let Err(task) = self.subject.spawn_local(Box::pin(task)) {
            tasks::join_root(task);
        }
        handle
    }

    /// A thread that works for this case; its panics are this case's.
    ///
    /// # Panics
    /// If the system has no thread to give.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Scene) -> T + Send + 'static,
    ) -> Thread<T> {
        let scene = self.clone();
        let handle = thread::Builder::new()
            .name("case-helper".to_owned())
            .spawn(move || scene.blackbox.worn(|| work(&scene)))
            .expect("no thread for the case");
        Thread(handle)
    }

    /// Notes what the case is about to wait for. If it hangs, the report says so.
    pub fn step(&self, step: &str) {
        self.blackbox.write_step(step);
    }

    /// Ends the case as skipped, because this machine lacks something.
    pub fn skip(&self, reason: impl Into<String>) -> ! {
        resume_unwind(Box::new(Skip(reason.into())))
    }

    /// What the runtime can do beyond the minimum.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.subject.abilities()
    }

    /// The runtime under test.
    #[must_use]
    pub fn subject(&self) -> &dyn Subject {
        &*self.subject
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("subject", &self.subject.name())
            .field("step", &self.blackbox.step())
            .finish()
    }
}

/// A thread of [`Scene::thread`].
#[derive(Debug)]
pub struct Thread<T>(thread::JoinHandle<T>);

impl<T> Thread<T> {
    /// Waits for its end.
    ///
    /// # Panics
    /// With the panic of the thread.
    pub fn join(self) -> T {
        match self.0.join() {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// The payload that ends a case as skipped.
pub(crate) struct Skip(pub(crate) String);
