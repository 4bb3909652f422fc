//! Queries known by their text: a name is made of it, and each name has one timer.
//!
//! Two levels. Each thread keeps the timers of its latest texts in a table of its own: a hit costs a
//! hash and a comparison of the text, no lock. Behind it lies one map for all threads, of names,
//! bounded; texts that never repeat (literals in the text instead of parameters) end there, at the
//! cost of reading the text.
//!
//! Invariant: a hit is the same text in the same set of queries. Sets are told apart by an id that
//! is never used again.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, fmt};

use super::{lazy::Lazy, native};
use crate::{
    instrument::{DropReason, Histogram, Query},
    name::{Unit, quick_hash},
    registry::Registry,
    semconv,
    sql::{self, Dialect},
    sync::{Arc, Ordering, RwLock, fixed},
};

/// A power of two.
const SLOTS: usize = 256;

/// Longer texts are not kept by the threads.
const MOST_KEPT: usize = 1024;

/// How many names a set of queries may have. Further ones share [`sql::OTHER`], and are counted as
/// dropped label sets.
const MOST_NAMES: usize = 1000;

/// Says how queries are known by their text; from [`Highwater::queries`](crate::Highwater::queries).
#[must_use = "nothing is recorded until `build` gave a handle"]
#[derive(Debug, Clone)]
pub struct QueriesBuilder {
    registry: Arc<Registry>,
    system: String,
    labels: Vec<(String, String)>,
    pool: Option<String>,
    named: HashMap<String, String>,
    with_text: bool,
}

pub(crate) fn queries(registry: &Arc<Registry>) -> QueriesBuilder {
    QueriesBuilder {
        registry: registry.clone(),
        system: "other_sql".to_owned(),
        labels: Vec::new(),
        pool: None,
        named: HashMap::new(),
        with_text: false,
    }
}

impl QueriesBuilder {
    /// The database, as [`QueryBuilder::system`](crate::QueryBuilder::system); it also says how the text is quoted.
    /// Of `redis`, `valkey` and `memcached` a text is a command, called by its first word.
    pub fn system(mut self, name: &str) -> Self {
        name.clone_into(&mut self.system);
        self
    }

    /// Adds a label to all of them.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The pool their connections come from, as [`QueryBuilder::pool`](crate::QueryBuilder::pool).
    pub fn pool(mut self, name: &str) -> Self {
        self.pool = Some(name.to_owned());
        self
    }

    /// Calls the query of exactly this text so, instead of by what is in it.
    pub fn named(mut self, sql: &str, name: &str) -> Self {
        self.named.insert(sql.to_owned(), name.to_owned());
        self
    }

    /// Tells the text too, as `db.query.text`: with `?` for every literal, parameter and list of
    /// them, without comments, at most 1 KiB. Off by default: it costs a series for each text.
    pub fn with_text(mut self) -> Self {
        self.with_text = true;
        self
    }

    /// The handle.
    pub fn build(self) -> Queries {
        static NEXT: fixed::AtomicU64 = fixed::AtomicU64::new(1);
        Queries(Arc::new(Set {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            dialect: Dialect::of(&self.system),
            commands: matches!(self.system.as_str(), "redis" | "valkey" | "memcached"),
            known: RwLock::default(),
            said: self,
        }))
    }
}

/// Queries of one database, known by their text: for drivers' hooks and wrappers, where nobody says
/// a name. Clone it, share it.
///
/// A name is the text's operations and collections, as `db.query.summary` asks for it:
/// `SELECT orders`. It never holds a literal, nor anything of a comment; at most the first 8 KiB of
/// a text are looked at, and at most 1,000 names are kept (further ones are `_OTHER`, and counted in
/// `highwater.dropped{reason="cardinality"}`). A text without any operation is `_OTHER` too.
///
/// Finding a timer costs less than 100 ns for one of a thread's latest texts (up to 1 KiB, 256 of
/// them), some microseconds for others.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let queries = hw.queries().system("postgresql").build();
/// let sql = "SELECT total FROM orders WHERE id = 4711";
/// assert_eq!(queries.name(sql), "SELECT orders");
/// let total = queries.of(sql).try_time(|| Ok::<_, std::io::Error>(12.5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queries(Arc<Set>);

struct Set {
    id: u64,
    dialect: Dialect,
    /// Texts are commands with their arguments, and no SQL.
    commands: bool,
    /// By name, with its text where that is told.
    known: RwLock<HashMap<String, KnownQuery>>,
    said: QueriesBuilder,
}

impl Queries {
    /// The timer of this text.
    #[inline]
    pub fn of(&self, sql: &str) -> Query {
        self.with(sql, |known| known.query().clone())
    }

    /// The timer of this text, and how many rows its calls give.
    pub fn find(&self, sql: &str) -> KnownQuery {
        self.with(sql, KnownQuery::clone)
    }

    #[inline]
    fn with<T>(&self, sql: &str, take: impl Fn(&KnownQuery) -> T) -> T {
        if sql.len() > MOST_KEPT {
            return take(&self.0.resolve(sql));
        }
        TABLE
            .try_with(|table| table.get(&self.0, sql, &take))
            .unwrap_or_else(|_| take(&self.0.resolve(sql)))
    }

    /// What this text is called.
    pub fn name(&self, sql: &str) -> String {
        self.0.name(sql).into_owned()
    }

    /// The query of this name, whatever its text; of these labels.
    pub fn called(&self, name: &str) -> Query {
        self.0.known_as(name, None).query().clone()
    }
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queries")
            .field("system", &self.0.said.system)
            .field("names", &self.0.known.read().len())
            .finish_non_exhaustive()
    }
}

impl Set {
    fn name<'a>(&'a self, sql: &'a str) -> Cow<'a, str> {
        match self.said.named.get(sql) {
            Some(name) => Cow::Borrowed(name),
            None if self.commands => Cow::Borrowed(command(sql)),
            None => Cow::Owned(sql::summarize(sql, self.dialect)),
        }
    }

    fn text(&self, sql: &str) -> String {
        if !self.commands {
            return sql::sanitize(sql, self.dialect);
        }
        // Keys are values as much as what is kept under them.
        let mut text = command(sql).to_owned();
        sql.split_ascii_whitespace().skip(1).take(1).for_each(|_| text.push_str(" ?"));
        text
    }

    #[cold]
    fn resolve(&self, sql: &str) -> KnownQuery {
        let text = self.said.with_text.then(|| self.text(sql));
        self.known_as(&self.name(sql), text.as_deref())
    }

    fn known_as(&self, name: &str, text: Option<&str>) -> KnownQuery {
        let key = match text {
            // No name has a line's end in it.
            Some(text) => Cow::Owned(format!("{name}\n{text}")),
            None => Cow::Borrowed(name),
        };
        if let Some(known) = self.known.read().get(&*key) {
            return known.clone();
        }
        let is_full = self.known.read().len() >= MOST_NAMES;
        if is_full && name != sql::OTHER {
            self.said.registry.drops().count(DropReason::Cardinality);
            return self.known_as(sql::OTHER, None);
        }
        // Not while the map is locked: making may log, and the logger may query. Of two that are
        // made at once, of the same series, the first stays.
        let made = self.make(name, text);
        self.known.write().entry(key.into_owned()).or_insert(made).clone()
    }

    fn make(&self, name: &str, text: Option<&str>) -> KnownQuery {
        let said = &self.said;
        let rows = native::histogram(&said.registry, semconv::DB_CLIENT_RESPONSE_RETURNED_ROWS)
            .unit(Unit::known("{row}"))
            .help("Rows that database operations returned.")
            .label(semconv::DB_SYSTEM_NAME, &said.system)
            .label(semconv::DB_QUERY_SUMMARY, name);
        let query = native::query(&said.registry, name).system(&said.system);
        let query = said.pool.iter().fold(query, |query, pool| query.pool(pool));
        let text = text.map(|text| (semconv::DB_QUERY_TEXT, text));
        let labels = said.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let (query, rows) =
            labels.chain(text).fold((query, rows), |(query, rows), (key, value)| {
                (query.label(key, value), rows.label(key, value))
            });
        KnownQuery(Arc::new(Known { query: query.build(), rows: Arc::new(rows.into()) }))
    }
}

/// A command's name: its first word, if that can be one.
fn command(text: &str) -> &str {
    let word = text.split_ascii_whitespace().next().unwrap_or_default();
    // Modules' commands are called `JSON.GET`, pipelines by us `PIPELINE`.
    let named = |c: u8| c.is_ascii_uppercase() || matches!(c, b'.' | b'_' | b'-');
    if !word.is_empty() && word.len() <= 32 && word.bytes().all(named) { word } else { sql::OTHER }
}

/// A query known by its text: what a driver's wrapper records to; from [`Queries::find`]. Clone it,
/// keep it.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let queries = hw.queries().system("postgresql").build();
/// let orders = queries.find("SELECT id FROM orders WHERE total > $1");
/// let rows = orders.query().classify(|_: &std::io::Error| Some("io")).try_time(|| Ok(vec![1, 2]))?;
/// orders.returned(rows.len() as u64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KnownQuery(Arc<Known>);

struct Known {
    query: Query,
    rows: Arc<Lazy<Histogram>>,
}

impl KnownQuery {
    /// The same with a count of references of its own.
    fn apart(&self) -> Self {
        Self(Arc::new(Known { query: self.0.query.clone(), rows: self.0.rows.clone() }))
    }

    /// Its timer.
    #[inline]
    pub fn query(&self) -> &Query {
        &self.0.query
    }

    /// A call gave so many rows: `db.client.response.returned_rows`. The series begins with the
    /// first call of this.
    pub fn returned(&self, rows: u64) {
        self.0.rows.get().record(rows as f64);
    }
}

impl fmt::Debug for KnownQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownQuery").finish_non_exhaustive()
    }
}

thread_local!(static TABLE: Table = Table::default());

/// A thread's latest texts, each in the slot its hash says.
#[derive(Default)]
struct Table(RefCell<Vec<Option<Entry>>>);

struct Entry {
    set: u64,
    text: Box<str>,
    known: KnownQuery,
}

impl Table {
    #[inline]
    fn get<T>(&self, set: &Set, sql: &str, take: impl Fn(&KnownQuery) -> T) -> T {
        let at = slot(set, sql);
        if let Ok(slots) = self.0.try_borrow()
            && let Some(Some(entry)) = slots.get(at)
            && entry.set == set.id
            && *entry.text == *sql
        {
            return take(&entry.known);
        }
        take(&self.insert(at, set, sql))
    }

    #[cold]
    fn insert(&self, at: usize, set: &Set, sql: &str) -> KnownQuery {
        // Not while the table is borrowed: resolving may log, and the logger may query.
        // Each thread's own: its clones come and go with the calls, and two cores that count in one
        // place wait for each other.
        let known = set.resolve(sql).apart();
        let entry = Some(Entry { set: set.id, text: sql.into(), known: known.clone() });
        let old = self.0.try_borrow_mut().ok().and_then(|mut slots| {
            if slots.is_empty() {
                slots.resize_with(SLOTS, || None);
            }
            std::mem::replace(slots.get_mut(at)?, entry)
        });
        drop(old);
        known
    }
}

#[inline]
fn slot(set: &Set, sql: &str) -> usize {
    quick_hash(set.id, sql) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(registry: &Arc<Registry>) -> QueriesBuilder {
        queries(registry).system("postgresql")
    }

    fn same(a: &Query, b: &Query) -> bool {
        a.is(b)
    }

    #[test]
    fn texts_of_one_name_share_a_timer_and_a_series() {
        let registry = Arc::new(Registry::new(100));
        let queries = set(&registry).build();
        let one = queries.of("SELECT * FROM t WHERE id = 1");
        assert!(same(&one, &queries.of("SELECT * FROM t WHERE id = 1")));
        assert!(same(&one, &queries.of("SELECT * FROM t WHERE id = 2")));
        assert!(!same(&one, &queries.of("SELECT * FROM u")));
        let elsewhere = queries.clone();
        let there = std::thread::spawn(move || elsewhere.of("SELECT * FROM t")).join().unwrap();
        assert!(same(&one, &there));
        // A duration and an in-flight count for each name.
        assert_eq!(registry.len(), 4);
    }

    #[test]
    fn sets_do_not_mix_and_labels_differ() {
        let registry = Arc::new(Registry::new(100));
        let (one, two) = (set(&registry).build(), set(&registry).label("db", "two").build());
        let sql = "SELECT * FROM t";
        assert!(!same(&one.of(sql), &two.of(sql)) && same(&one.of(sql), &one.of(sql)));
    }

    #[test]
    fn pools_share_durations_and_are_told_apart_by_what_is_in_flight() {
        let registry = Arc::new(Registry::new(100));
        let of = |pool| set(&registry).pool(pool).build().of("SELECT * FROM t");
        let (one, two) = (of("one"), of("two"));
        let (_one, _two) = (one.start(), two.start());
        let mut all = Vec::new();
        registry.catch_up(&mut all);
        let mut told: Vec<_> = all
            .iter()
            .map(|series| {
                let pool = series.labels.get(semconv::DB_CLIENT_CONNECTION_POOL_NAME);
                (&*series.metric.name, pool)
            })
            .collect();
        told.sort_unstable();
        let in_flight = semconv::QUERY_IN_FLIGHT;
        assert_eq!(
            told,
            [
                (semconv::DB_CLIENT_OPERATION_DURATION, None),
                (in_flight, Some("one")),
                (in_flight, Some("two"))
            ]
        );
    }

    #[test]
    fn a_name_that_was_given_wins() {
        let registry = Arc::new(Registry::new(100));
        let queries = set(&registry).named("SELECT 1 FROM t", "ping").build();
        assert_eq!(queries.name("SELECT 1 FROM t"), "ping");
        assert_eq!(queries.name("SELECT 2 FROM t"), "SELECT t");
        assert!(same(&queries.of("SELECT 1 FROM t"), &queries.called("ping")));
    }

    #[test]
    fn the_text_is_told_only_if_asked_for() {
        let labels_of = |builder: QueriesBuilder, registry: &Arc<Registry>| {
            let _ = builder.build().of("SELECT * FROM t WHERE name = 'hunter'");
            let mut all = Vec::new();
            registry.catch_up(&mut all);
            all[0].labels.clone()
        };
        let registry = Arc::new(Registry::new(100));
        let labels = labels_of(set(&registry), &registry);
        assert_eq!((labels.get(semconv::DB_QUERY_TEXT), labels.len()), (None, 2));
        let registry = Arc::new(Registry::new(100));
        let labels = labels_of(set(&registry).with_text(), &registry);
        assert_eq!(labels.get(semconv::DB_QUERY_TEXT), Some("SELECT * FROM t WHERE name = ?"));
        assert_eq!(labels.get(semconv::DB_QUERY_SUMMARY), Some("SELECT t"));
    }

    #[test]
    fn a_command_is_called_by_its_verb_and_nothing_that_follows_it() {
        let registry = Arc::new(Registry::new(100));
        let queries = queries(&registry).system("redis").with_text().build();
        assert_eq!(queries.name("GET secret"), "GET");
        assert_eq!(queries.name("JSON.SET a b"), "JSON.SET");
        for odd in ["", " ", "hunter2", "GET1 x", "\u{e9}X", &"A".repeat(40)] {
            assert_eq!(queries.name(odd), sql::OTHER, "{odd}");
        }
        assert_eq!(queries.0.text("SET secret 4711"), "SET ?");
        assert_eq!(queries.0.text("PING"), "PING");
    }

    #[test]
    fn a_flood_of_names_ends_in_one() {
        let registry = Arc::new(Registry::new(5_000));
        let queries = set(&registry).build();
        for table in 0..MOST_NAMES + 50 {
            let _ = queries.of(&format!("SELECT * FROM t{table}"));
        }
        assert_eq!(queries.0.known.read().len(), MOST_NAMES + 1);
        assert_eq!(registry.drops().total(DropReason::Cardinality), 50);
        assert!(same(&queries.of("SELECT * FROM t9999"), &queries.called(sql::OTHER)));
        assert!(!same(&queries.of("SELECT * FROM t3"), &queries.called(sql::OTHER)));
    }

    #[test]
    fn texts_of_one_slot_displace_each_other_and_long_ones_are_not_kept() {
        let registry = Arc::new(Registry::new(100));
        let queries = set(&registry).build();
        let text = |table: usize| format!("SELECT * FROM table{table}");
        let place = |table: usize| slot(&queries.0, &text(table));
        let other = (1..).find(|table| place(*table) == place(0)).unwrap();
        let (one, two) = (queries.of(&text(0)), queries.of(&text(other)));
        assert!(!same(&one, &two) && same(&one, &queries.of(&text(0))));
        let long = format!("SELECT '{}' FROM table0", "x".repeat(MOST_KEPT));
        assert!(same(&one, &queries.of(&long.replace('x', "y"))));
    }

    #[test]
    fn texts_that_differ_in_the_middle_are_told_apart_whatever_their_slot() {
        let registry = Arc::new(Registry::new(5_000));
        let queries = set(&registry).build();
        for _ in 0..2 {
            for column in 0..500 {
                let sql =
                    format!("SELECT {} FROM t{column} WHERE {}", "a".repeat(200), "b".repeat(200));
                assert!(same(&queries.of(&sql), &queries.called(&format!("SELECT t{column}"))));
            }
        }
    }
}
