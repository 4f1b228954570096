//! What rows share, and what takes long: made when the first of them has its turn, outside of its time.
//! So a row that is not asked for costs nothing.

use std::rc::Rc;

use anyhow::Result;
use futures::future::{FutureExt, LocalBoxFuture};
use tokio::sync::OnceCell;

pub(crate) struct Lazy<T> {
    made: OnceCell<T>,
    make: Box<dyn Fn() -> LocalBoxFuture<'static, Result<T>>>,
}

impl<T> Lazy<T> {
    pub(crate) fn new<F>(make: impl Fn() -> F + 'static) -> Rc<Self>
    where
        F: Future<Output = Result<T>> + 'static,
    {
        Rc::new(Self {
            made: OnceCell::new(),
            make: Box::new(move || make().boxed_local()),
        })
    }

    pub(crate) async fn get(&self) -> Result<&T> {
        self.made.get_or_try_init(|| (self.make)()).await
    }
}
