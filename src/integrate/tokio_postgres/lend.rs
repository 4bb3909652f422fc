//! What leads to a client.

use ::tokio_postgres::Client;

/// Something that has a client of tokio-postgres: the client itself, a borrowed one, what a measured
/// pool gave. Implement it for a type of your own that holds one.
///
/// Whatever dereferences to a client can be lent as it is:
/// `integrate::tokio_postgres::Client::new(&mut *client, &queries)`.
pub trait Lend {
    /// The client.
    fn lend(&self) -> &Client;

    /// The client.
    fn lend_mut(&mut self) -> &mut Client;
}

impl Lend for Client {
    fn lend(&self) -> &Client {
        self
    }

    fn lend_mut(&mut self) -> &mut Client {
        self
    }
}

impl<L: Lend> Lend for &mut L {
    fn lend(&self) -> &Client {
        (**self).lend()
    }

    fn lend_mut(&mut self) -> &mut Client {
        (**self).lend_mut()
    }
}

/// deadpool-postgres' objects.
#[cfg(feature = "deadpool")]
impl<M> Lend for crate::integrate::deadpool::Object<M>
where
    M: ::deadpool::managed::Manager,
    M::Type: std::ops::DerefMut<Target = Client>,
{
    fn lend(&self) -> &Client {
        self
    }

    fn lend_mut(&mut self) -> &mut Client {
        self
    }
}

/// bb8-postgres' connections.
#[cfg(feature = "bb8")]
impl<M: ::bb8::ManageConnection<Connection = Client>> Lend
    for crate::integrate::bb8::Connection<M>
{
    fn lend(&self) -> &Client {
        self
    }

    fn lend_mut(&mut self) -> &mut Client {
        self
    }
}
