//! The traits by which libraries written for `futures` start tasks: implemented by passing the future on.
//!
//! Not here: our own traits (`spawn`), which give back a task.

use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};

use crate::local::{Local, LocalHandle, Remote};
use crate::per_core::{Here, PerCore, PerCoreHandle};
use crate::pool::{Pool, PoolHandle};
use crate::priority::{Priority, PriorityHandle};
use crate::sim::{Sim, SimHandle, SimRemote};

fn unless(ended: bool) -> Result<(), SpawnError> {
    if ended {
        Err(SpawnError::shutdown())
    } else {
        Ok(())
    }
}

/// Runs the future as a detached task. Needs the feature `futures-task`.
impl Spawn for Pool {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task, unless the pool has ended. Needs the feature `futures-task`.
impl Spawn for PoolHandle {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        self.spawn(future).detach();
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task of [`Class::Normal`](crate::Class::Normal). Needs the feature `futures-task`.
impl Spawn for Priority {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl Spawn for PriorityHandle {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        crate::Spawn::spawn(self, future).detach();
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task, on the core that the calling thread is or the one with the least to do. Needs the
/// feature `futures-task`.
impl Spawn for PerCore {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        crate::Spawn::spawn(self, future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl Spawn for PerCoreHandle {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        crate::Spawn::spawn(self, future).detach();
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task of this core. Needs the feature `futures-task`.
impl LocalSpawn for Here {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        self.spawn(future).detach();
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        unless(self.cores().is_ended())
    }
}

/// Runs the future as a detached task. Needs the feature `futures-task`.
impl Spawn for Local {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task. Needs the feature `futures-task`.
impl LocalSpawn for Local {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl LocalSpawn for LocalHandle {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        self.spawn(future).detach();
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl Spawn for Remote {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        crate::Spawn::spawn(self, future).detach();
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task. Needs the feature `futures-task`.
impl Spawn for Sim {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task. Needs the feature `futures-task`.
impl LocalSpawn for Sim {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl LocalSpawn for SimHandle {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        self.spawn(future).detach();
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}

/// Runs the future as a detached task, unless the executor has ended. Needs the feature `futures-task`.
impl Spawn for SimRemote {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status()?;
        crate::Spawn::spawn(self, future).detach();
        Ok(())
    }

    fn status(&self) -> Result<(), SpawnError> {
        unless(self.is_ended())
    }
}
