use proptest::prelude::*;

use super::*;

const PG: Dialect = Dialect::PostgreSql;
const MY: Dialect = Dialect::MySql;
const LITE: Dialect = Dialect::Sqlite;

#[test]
fn names_of_tricky_texts() {
    for (dialect, text, name) in [
        // The conventions' own examples.
        (PG, "SELECT * FROM wuser_table WHERE username = ?", "SELECT wuser_table"),
        (
            PG,
            "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders",
            "INSERT shipping_details SELECT orders",
        ),
        (
            PG,
            "SELECT * FROM songs, artists WHERE songs.artist_id = artists.id",
            "SELECT songs artists",
        ),
        (
            PG,
            "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
            "SELECT SELECT orders customers",
        ),
        (PG, "SELECT * FROM \"song list\", artists", "SELECT \"song list\" artists"),
        // Space, comments, case.
        (
            PG,
            "  select\n\t1 -- from secrets\n from /* the /* nested */ FROM x */ Orders",
            "SELECT Orders",
        ),
        (MY, "SELECT 1 # it's a comment, from x\nFROM t", "SELECT t"),
        (PG, "/* unclosed SELECT FROM x", "_OTHER"),
        // Literals.
        (PG, "SELECT $$ FROM secret $$ FROM t WHERE a = $x$ it's $$ FROM y $x$", "SELECT t"),
        (PG, "SELECT E'it\\'s FROM x' FROM t", "SELECT t"),
        (PG, "SELECT 'it''s FROM x' FROM t WHERE b = '' AND c = ''''", "SELECT t"),
        (PG, "SELECT'a'FROM t", "SELECT t"),
        (PG, "SELECT 'C:\\' FROM secret", "SELECT"),
        (MY, "SELECT 'it\\' FROM secret' FROM t", "SELECT"),
        (PG, "SELECT 1e-3,.5,0x1F,1_000 FROM t1", "SELECT t1"),
        (Dialect::Other, "SELECT q'[it's FROM x]' FROM t", "SELECT"),
        // What is a comment, a string or a name depends on whose text it is.
        (MY, "SELECT a /* x /* y */ FROM t WHERE b='z */ FROM secret'", "SELECT"),
        (LITE, "SELECT a /* x /* y */ FROM t WHERE b='z */ FROM secret'", "SELECT"),
        (PG, "SELECT a /* x /* y */ FROM t WHERE b='z */ FROM u", "SELECT u"),
        (MY, "SELECT /*! 'x */ FROM secret' */ FROM t", "SELECT"),
        (MY, "SELECT /*+ MAX_EXECUTION_TIME(5) */ a FROM t", "SELECT t"),
        (LITE, "SELECT a FROM [o'brien] WHERE b='x FROM secret'", "SELECT [o'brien]"),
        (LITE, "SELECT [a]] FROM t WHERE b = ']'", "SELECT t"),
        (Dialect::Other, "SELECT a FROM [o'brien] WHERE b='x FROM secret'", "SELECT"),
        (Dialect::Other, "SELECT list[1], [2, 3] FROM t", "SELECT t"),
        (MY, "SELECT 5--'x\n FROM secret'\nFROM t", "SELECT t"),
        (MY, "SELECT 5 -- 'x\n FROM t", "SELECT t"),
        (Dialect::Other, "SELECT 5--'x\n FROM secret'", "SELECT"),
        (PG, "SELECT 5--'x\n FROM t", "SELECT t"),
        (PG, "SELECT 1 -- it's\r FROM t WHERE a = '\n FROM secret'", "SELECT t"),
        (MY, "SELECT 1 -- it's\r FROM t WHERE a = '\n FROM secret'", "SELECT"),
        (PG, "SELECT 1e--'x\n FROM t", "SELECT t"),
        (PG, "SELECT U&'d\\0061' UESCAPE '!' FROM t", "SELECT t"),
        (PG, "SELECT N'it''s', B'01', _a'b' FROM t", "SELECT t"),
        (PG, "SELECT E'a'\n'b\\' FROM secret' FROM t", "SELECT"),
        (MY, "SELECT E'x\\' FROM secret", "SELECT"),
        (PG, "SELECT $\u{20ac}$ FROM secret ' $\u{20ac}$ FROM t", "SELECT t"),
        (PG, "SELECT $1$$ FROM secret $$ FROM t", "SELECT t"),
        (PG, "SELECT \u{20ac}$$, 'x$$ FROM secret' FROM t", "SELECT t"),
        (PG, "SELECT a ` 'x` FROM secret'", "SELECT"),
        (MY, "SELECT $$, 'x$$ FROM secret'", "SELECT"),
        (LITE, "SELECT $$, 'x$$ FROM secret'", "SELECT"),
        (LITE, "SELECT $a::b, :c, @d, ?1 FROM t", "SELECT t"),
        (Dialect::Other, "SELECT $1::varchar(10), :a::text FROM t", "SELECT t"),
        (LITE, "SELECT $a('x), ' FROM secret'", "SELECT"),
        (Dialect::Other, "SELECT '''a' FROM secret'''", "SELECT"),
        (Dialect::Other, "SELECT 1 // it's\nFROM t WHERE a = 'x FROM secret'", "SELECT"),
        (Dialect::Other, "SELECT\u{a0}q'[it's FROM x]' FROM t", "_OTHER"),
        (PG, "SELECT 1\0' FROM t", "SELECT"),
        // Functions that have a FROM of their own.
        (
            PG,
            "SELECT EXTRACT(year FROM created), trim(both 'x' FROM name), substring(a FROM 2 FOR 3) FROM orders",
            "SELECT orders",
        ),
        (PG, "SELECT a IS DISTINCT FROM b FROM t WHERE c IS NOT DISTINCT FROM d", "SELECT t"),
        // Joins and lists.
        (
            PG,
            "SELECT * FROM a LEFT JOIN b ON a.x = b.x INNER JOIN LATERAL (SELECT 1 FROM c) q ON true, d",
            "SELECT a b SELECT c",
        ),
        (
            PG,
            "SELECT * FROM ONLY public.orders AS o, other.\"T x\" ORDER BY a, b",
            "SELECT public.orders other.\"T x\"",
        ),
        (PG, "SELECT * FROM (a JOIN b USING (id)) WHERE x IN (1, 2, 3)", "SELECT a b"),
        (
            PG,
            "SELECT * FROM generate_series(1, 10) g(n), unnest($1::int[]) u",
            "SELECT generate_series unnest",
        ),
        (PG, "SELECT a FROM t GROUP BY a, b HAVING count(*) > 1 LIMIT 5, 6", "SELECT t"),
        (PG, "SELECT 1 UNION ALL SELECT 2 FROM t", "SELECT SELECT t"),
        (
            PG,
            "SELECT id FROM jobs WHERE done = false ORDER BY id FOR UPDATE SKIP LOCKED",
            "SELECT jobs",
        ),
        (
            PG,
            "SELECT data->>'x', tags[1:2], a::text, b @> '{1}', c ?| array['y'] FROM docs",
            "SELECT docs",
        ),
        (PG, "SELECT EXISTS(SELECT 1 FROM t)", "SELECT SELECT t"),
        // Common table expressions.
        (
            PG,
            "WITH recent AS (SELECT * FROM orders), x(a, b) AS MATERIALIZED (SELECT 1) SELECT * FROM recent JOIN x ON true",
            "SELECT orders SELECT SELECT",
        ),
        (
            PG,
            "WITH RECURSIVE tree AS (SELECT id FROM nodes UNION ALL SELECT n.id FROM nodes n JOIN tree ON n.parent = tree.id) SELECT * FROM tree",
            "SELECT nodes SELECT nodes SELECT",
        ),
        (
            PG,
            "WITH gone AS (DELETE FROM jobs WHERE id = $1 RETURNING *) INSERT INTO done SELECT * FROM gone",
            "DELETE jobs INSERT done SELECT",
        ),
        (
            PG,
            "WITH x AS (SELECT 1) UPDATE t SET a = 1 FROM u WHERE t.id = u.id",
            "SELECT UPDATE t u",
        ),
        // Writes.
        (
            PG,
            "INSERT INTO t (a, b) VALUES ($1, 'FROM x'), (2, 3) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
            "INSERT t",
        ),
        (
            MY,
            "INSERT INTO `my table` VALUES (1) ON DUPLICATE KEY UPDATE a = \"secret\", b = \"FROM x\"",
            "INSERT `my table`",
        ),
        (MY, "REPLACE INTO t VALUES (REPLACE('a', 'b', 'c'))", "REPLACE t"),
        (Dialect::Other, "INSERT OR REPLACE INTO t VALUES (1)", "INSERT t"),
        (Dialect::Other, "UPDATE OR IGNORE t SET a = 1, b = \"secret\"", "UPDATE t"),
        (PG, "DELETE FROM a USING b WHERE a.id = b.id", "DELETE a b"),
        (
            PG,
            "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "MERGE t s",
        ),
        (
            Dialect::SqlServer,
            "SELECT TOP 5 * FROM [dbo].[it's] JOIN #temp ON 1 = 1",
            "SELECT [dbo].[it's] #temp",
        ),
        (MY, "SELECT * FROM t INTO OUTFILE \"/secret\" FIELDS TERMINATED BY \",\"", "SELECT t"),
        // Everything else.
        (PG, "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "CREATE INDEX i"),
        (PG, "CREATE TEMP TABLE copy AS SELECT * FROM t", "CREATE TABLE copy SELECT t"),
        (PG, "CREATE USER bob PASSWORD 'secret'", "CREATE USER"),
        (PG, "DROP TABLE IF EXISTS a.b CASCADE", "DROP TABLE a.b"),
        (PG, "ALTER TABLE t ADD COLUMN x int DEFAULT 5", "ALTER TABLE t"),
        (PG, "TRUNCATE TABLE t", "TRUNCATE t"),
        (PG, "COPY t (a) FROM STDIN", "COPY t"),
        (PG, "CALL billing.close_month(2024, 'x')", "CALL billing.close_month"),
        (PG, "BEGIN; UPDATE a SET x = 1; COMMIT", "BEGIN UPDATE a COMMIT"),
        (PG, "SAVEPOINT _sqlx_savepoint_1", "SAVEPOINT"),
        (PG, "SET app.user = 'secret'", "SET"),
        (PG, "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM t", "EXPLAIN SELECT t"),
        (PG, "EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN UPDATE t"),
        (PG, "DECLARE c CURSOR FOR SELECT * FROM t", "DECLARE SELECT t"),
        (PG, "NOTIFY channel, 'secret'", "NOTIFY"),
        (PG, "VALUES (1, 'a')", "VALUES"),
        (PG, "SELECT * FROM größe JOIN 表 ON true", "SELECT größe 表"),
        (PG, "hunter2", "_OTHER"),
        (PG, "", "_OTHER"),
        (PG, ")))(((,.;'", "_OTHER"),
    ] {
        assert_eq!(summarize(text, dialect), name, "{text}");
    }
}

#[test]
fn texts_without_literals() {
    for (dialect, text, expected) in [
        (
            PG,
            "select  a.b , c\nfrom t -- x\nwhere d = 'secret' and e in (1, 2, 3)",
            "select a.b, c from t where d = ? and e in (?)",
        ),
        (PG, "INSERT INTO t VALUES ($1, $2), ($3, $4), (5, 'x')", "INSERT INTO t VALUES (?)"),
        (
            PG,
            "SELECT \"Col\", x::int, tags[1] FROM t WHERE a = $$secret$$",
            "SELECT \"Col\", x::int, tags[?] FROM t WHERE a = ?",
        ),
        (MY, "SELECT * FROM t WHERE a = \"secret\"", "SELECT * FROM t WHERE a = ?"),
        (PG, "SELECT 'C:\\' FROM secret", "SELECT ?…"),
        (PG, "SELECT count(*) FROM t", "SELECT count (*) FROM t"),
    ] {
        assert_eq!(sanitize(text, dialect), expected, "{text}");
    }
}

#[test]
fn long_texts_are_read_as_far_as_said_and_cut_between_names() {
    let tables: Vec<_> = (0..100).map(|n| format!("table_{n:03}")).collect();
    let summary = summarize(&format!("SELECT * FROM {}", tables.join(", ")), PG);
    assert!(summary.len() <= 255 && summary.ends_with(char::is_numeric), "{summary}");
    assert_eq!(summary.split(' ').next_back().map(str::len), Some("table_000".len()));
    let values = vec!["('secret')"; 10_000].join(", ");
    let insert = format!("INSERT INTO t VALUES {values}");
    assert_eq!(summarize(&insert, PG), "INSERT t");
    assert_eq!(sanitize(&insert, PG), "INSERT INTO t VALUES (?),…");
    let cut = format!("SELECT '{}' FROM t", "ä".repeat(MOST_READ));
    assert_eq!(summarize(&cut, PG), "SELECT");
}

/// Every piece a text can be made of; each literal holds the marker.
fn piece() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "JOIN",
        "WHERE",
        "INSERT",
        "INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "DELETE",
        "WITH",
        "AS",
        "ON",
        "USING",
        "UNION",
        "CREATE TABLE",
        "CALL",
        "EXTRACT(",
        "(",
        ")",
        ",",
        ";",
        ".",
        "=",
        "::",
        "DISTINCT",
        "ORDER BY",
        "t",
        "a.b",
        "`q`",
        "[x]",
        "--c\n",
        "/*",
        "*/",
        "E",
        "N",
        "q",
        "_utf8",
        "$1",
        "?",
        "@v",
        ":n",
        "\n",
        "LATERAL",
        "ONLY",
        "TRUNCATE",
        "COPY",
        "EXPLAIN",
        "*",
        "-",
        "{",
        "é",
        "#",
        "FOR",
        "LIMIT",
        "OUTFILE",
    ])
    .prop_map(str::to_owned);
    let literal = prop::sample::select(vec![
        "'hunter'",
        "'x''hunter'",
        "E'\\'hunter'",
        "$$hunter$$",
        "$t$hunter ' $t$",
        "735108",
        "1.735108",
        "0x735108",
        "X'735108'",
        "-- hunter\n",
        "/* hunter */",
        "N'hunter'",
        "'hunter\\\\'",
        "'FROM hunter'",
        "'hunter /* '",
        "'-- hunter'",
        "$t$ hunter $$ $t$",
    ])
    .prop_map(str::to_owned);
    prop_oneof![3 => keyword, 2 => literal]
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![PG, MY, LITE, Dialect::SqlServer, Dialect::Other])
}

/// Pieces that end as they began in the one dialect, and in which it takes the marker for a value or
/// a comment.
fn pieces_of(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::PostgreSql => &[
            "/* a /* hunter */ hunter ' */",
            "E'\\'hunter'",
            "$\u{e9}$hunter ' $\u{e9}$",
            "$\u{20ac}$hunter ' $\u{20ac}$",
            "$1$$ hunter' $$",
            "a[1:1$$ hunter' $$]",
            "1$$ hunter' $$",
            "\u{20ac}$$, 'x$$ hunter'",
            "1\u{20ac}$$, 'x$$ hunter'",
            "1a$$, 'x$$ hunter'",
            "U&'hunter'",
            "-- x\r'\n hunter'",
            "1e--'hunter\n",
            "a ` 'x` hunter'",
            "E'a'\n'b\\' hunter'",
        ],
        Dialect::MySql => &[
            "5--'x\n hunter'",
            "/* x /* y */, 'z */ hunter'",
            "# it's hunter\n",
            "-- it's hunter\n",
            "'it\\'s hunter'",
            "\"a\\\" hunter\"",
            "$$, 'x$$ hunter'",
            "@$$, 'x$$ hunter'",
            "/*! 'x */ hunter' */",
            "/*M! 'x */ hunter' */",
            "/*+ 'x */ hunter' */",
            "-- \r' hunter\n",
        ],
        Dialect::Sqlite => &[
            "/* x /* y */, 'z */ hunter'",
            "[o'brien], 'x hunter'",
            "[a]], ']hunter'",
            "'C:\\', ' hunter'",
            "--'x\n'hunter'",
            "$$, 'x$$ hunter'",
            "$a('x), ' hunter'",
            "$a::b('x), ' hunter'",
        ],
        Dialect::SqlServer => &[
            "[it]]'s], 'hunter'",
            "/* a /* ' */ hunter */",
            "'C:\\', ' hunter'",
            "--'x\n'hunter'",
            "$5, 'hunter'",
            "#a#b, 'hunter'",
        ],
        Dialect::Other => &[
            "q'[it's hunter]'",
            "\u{a0}q'[it's hunter]'",
            "nq'(it's hunter)'",
            "'''a' hunter'''",
            "\"\"\"a\" hunter\"\"\"",
            "// it's hunter\n",
            "$tag$ it's hunter $tag$",
            "`a\\` , 'hunter'`",
        ],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_literal_gets_through(pieces in prop::collection::vec(piece(), 0..24), dialect in dialect()) {
        let text = pieces.join(" ");
        // An open comment may swallow a quote that another dialect would see; those that nest
        // drop more, never less. A bare opening bracket quotes in one dialect only.
        for told in [summarize(&text, dialect), sanitize(&text, dialect)] {
            prop_assert!(!told.contains("hunter") && !told.contains("735108"), "{told:?} of {text:?}");
        }
    }

    #[test]
    fn no_literal_gets_through_of_any_dialect_nor_if_nobody_said_which(
        (dialect, pieces) in dialect().prop_flat_map(|dialect| {
            let own = prop::sample::select(pieces_of(dialect));
            let word = prop::sample::select(&["SELECT", "FROM", "t", ",", "(", ")", "WHERE a =", "JOIN"][..]);
            (Just(dialect), prop::collection::vec(prop_oneof![own, word], 1..12))
        }),
    ) {
        let text = pieces.join(" ");
        for dialect in [dialect, Dialect::Other] {
            for told in [summarize(&text, dialect), sanitize(&text, dialect)] {
                prop_assert!(!told.contains("hunter"), "{told:?} of {text:?} to {dialect:?}");
            }
        }
    }

    #[test]
    fn no_value_between_double_quotes_gets_through_but_where_a_collection_is(
        before in prop::collection::vec(piece(), 0..8),
        dialect in prop::sample::select(vec![MY, LITE, Dialect::Other]),
    ) {
        let before = before.join(" ");
        for clause in ["WHERE a = \"hunter\"", "SET a = 1, b = \"hunter\"", "ORDER BY a, \"hunter\"", "LIMIT f(\"hunter\")"] {
            let text = format!("{before} ; SELECT a FROM t {clause}");
            prop_assert!(!sanitize(&text, dialect).contains("hunter"));
            prop_assert!(!summarize(&text, dialect).contains("hunter"), "{text:?}");
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in ".{0,200}", dialect in dialect()) {
        let _ = (summarize(&text, dialect), sanitize(&text, dialect));
    }
}
