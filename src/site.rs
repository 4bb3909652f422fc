//! Handles that a call site resolves once: what [`query!`](crate::query) expands to.
//!
//! A site is a static of the user's, so it outlives instances. It remembers which one its handle
//! is of, by the id that is never used again; after a shutdown it answers with a handle that does
//! nothing, after the next `install` it resolves anew and remembers that too. A process installs
//! once or twice, so what is remembered is a list that only grows.

use crate::{
    front, handle,
    instrument::Query,
    sync::{OnceCell, once},
};

/// Resolves a [`Query`] of the installed instance, once for each call site; afterwards it costs
/// three loads. Without an installed instance the handle does nothing.
///
/// ```
/// # fn orders_of(user: u32) -> Result<u32, std::fmt::Error> { Ok(user) }
/// # let user = 7;
/// let orders = highwater::query!("orders_by_user", "db.system.name" => "postgresql")
///     .try_time(|| orders_of(user))?;
/// # assert_eq!(orders, 7);
/// # Ok::<(), std::fmt::Error>(())
/// ```
///
/// The name and the labels are literals: what varies from call to call is no name. For a query of
/// an instance that was started, not installed, keep a handle from
/// [`Highwater::query`](crate::Highwater::query).
#[macro_export]
macro_rules! query {
    ($name:literal $(, $key:literal => $value:literal)* $(,)?) => {{
        static SITE: $crate::__private::QuerySite =
            $crate::__private::QuerySite::new($name, &[$(($key, $value)),*]);
        SITE.get()
    }};
}

/// One call site of [`query!`](crate::query).
#[derive(Debug)]
pub struct QuerySite {
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    resolved: OnceCell<Resolved>,
}

#[derive(Debug)]
struct Resolved {
    instance: u64,
    query: Query,
    next: OnceCell<Box<Resolved>>,
}

impl QuerySite {
    /// For the macro only.
    #[doc(hidden)]
    pub const fn new(name: &'static str, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, labels, resolved: OnceCell::new() }
    }

    /// The handle in the installed instance.
    #[inline]
    pub fn get(&'static self) -> &'static Query {
        let instance = front::installed();
        match self.resolved.get() {
            Some(first) if first.instance == instance => &first.query,
            _ if instance == 0 => inert(),
            _ => self.resolve(instance),
        }
    }

    #[cold]
    fn resolve(&'static self, instance: u64) -> &'static Query {
        let Some(installed) = handle::global().filter(|it| it.id() == instance) else {
            return inert();
        };
        let make = || {
            let labels = self.labels.iter();
            let builder = labels.fold(installed.query(self.name), |builder, (key, value)| {
                builder.label(key, value)
            });
            Resolved { instance, query: builder.build(), next: OnceCell::new() }
        };
        let mut at = once(&self.resolved, make);
        while at.instance != instance {
            at = &**once(&at.next, || Box::new(make()));
        }
        &at.query
    }
}

/// What there is without an installed instance.
#[inline]
fn inert() -> &'static Query {
    static INERT: OnceCell<Query> = OnceCell::new();
    INERT.get_or_init(Query::inert)
}
