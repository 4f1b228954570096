//! Locks a mutex that only this one thread uses.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The mutex is there because tasks must be `Send`; a poisoned one holds what it held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
