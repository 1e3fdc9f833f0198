use super::*;
use crate::name::TableName;
use crate::statement::*;
use dunlin_types::Consistency;
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

fn check_error(text: &str, line: u32, column: u32, message: &str) {
    assert_eq!(parse(text), Err(SyntaxError { message: message.into(), line, column }), "{text}");
}

#[test]
fn errors_name_what_was_expected_and_where() {
    check_error("SELEC 1;", 1, 1, "expected a statement, found SELEC");
    check_error("", 1, 1, "expected a statement, found the end");
    check_error(" ;", 1, 2, "expected a statement, found ;");
    check_error("select * kv", 1, 10, "expected FROM, found kv");
    check_error(
        "SELECT *\n  FROM kv\n  WERE key = 'a'",
        3,
        3,
        "expected WHERE, LIMIT, USING or the end of the statement, found WERE",
    );
    check_error("SELECT * FROM kv WHERE key > 5", 1, 28, "expected = or IN, found >");
    check_error("SELECT * FROM kv WHERE TOKEN(key) = 5", 1, 35, "expected <, <=, > or >=, found =");
    check_error(
        "SELECT MAX(key) FROM kv",
        1,
        8,
        "expected CONTEXT, TTL, WRITETIME, TOKEN or COUNT before (, found max",
    );
    check_error("SELECT * FROM kv LIMIT 0", 1, 24, "a LIMIT is 1 or more");
    check_error("SELECT * FROM kv; SELECT", 1, 19, "expected the end of the statement, found SELECT");
    check_error("INSERT INTO kv (key value) VALUES ('a')", 1, 21, "expected , or ), found value");
    check_error("CREATE INDEX", 1, 8, "expected KEYSPACE or TABLE, found INDEX");
    check_error(
        "CREATE TABLE table (k text)",
        1,
        14,
        "expected IF or the name of a table, found table, a keyword: quote it to use it as a name",
    );
    check_error(
        "CONSISTENCY MANY",
        1,
        13,
        "expected a consistency level (ANY, ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM or EACH_QUORUM), found MANY",
    );
    check_error("DELETE FROM kv USING TTL 1 AND TTL 2 WHERE key = 'a'", 1, 32, "TTL is given twice");
    check_error(
        "DELETE FROM kv USING COLOR 1 WHERE key = 'a'",
        1,
        22,
        "expected CONSISTENCY, TTL, CONTEXT, AFTER, TIMESTAMP, TIMEOUT, DURABILITY, REQUEST or PAGE, found COLOR",
    );
    check_error("SELECT * FROM kv USING TIMEOUT 500", 1, 32, "expected a duration such as 500ms, found 500");
    check_error("SELECT * FROM kv USING REQUEST 'x'", 1, 32, "expected a uuid, found 'x'");
    check_error(
        "BEGIN BATCH SELECT * FROM kv; APPLY BATCH",
        1,
        13,
        "expected INSERT, UPDATE, DELETE or APPLY BATCH, found SELECT",
    );
    check_error("PAGING 0", 1, 8, "a page has 1 to 100000 rows");
    check_error("USE \"\"", 1, 5, "a name has at least one character");
    check_error(
        &format!("USE '{}'", "x".repeat(99)),
        1,
        5,
        &format!(
            "expected the name of a keyspace, found '{}...; a name is without quotes, or in double quotes",
            "x".repeat(31)
        ),
    );
    let deep = format!("CREATE TABLE t (k {}text PRIMARY KEY, v text)", "list<".repeat(5000));
    assert_eq!(parse(&deep).unwrap_err().message, "the type is nested too deep");
}

#[test]
fn errors_say_what_may_have_been_meant() {
    let check = |text: &str, column: u32, hint: &str| {
        let error = parse(text).unwrap_err();
        assert!(error.message.ends_with(hint), "{text}: {} does not end with {hint}", error.message);
        assert_eq!((error.line, error.column), (1, column), "{text}: {}", error.message);
    };
    let quotes = "a string is in single quotes";
    check("SELECT * FROM kv WHERE key = \"a\"", 30, "found \"a\"; a string is in single quotes: 'a'");
    check("INSERT INTO kv (key, value) VALUES (\"it's\", 'b')", 37, "single quotes: 'it''s'");
    check("UPDATE kv SET value = \"x\" WHERE key = 'a'", 23, "single quotes: 'x'");
    check("DELETE FROM kv USING CONTEXT \"AQ\" WHERE key = 'a'", 30, "single quotes: 'AQ'");
    check("SELECT * FROM kv WHERE key IN ('a', \"b\")", 37, "single quotes: 'b'");
    check("ALTER TABLE kv WITH comment = \"x\"", 31, "single quotes: 'x'");
    check("LOGIN ann 'x'", 7, quotes);
    check("INSERT INTO kv (key, value) VALUES (alice, 3 apples)", 37, quotes);
    check("SELECT * FROM kv WHERE key == 'a'", 29, "; one = is enough");
    check("SELECT * FROM kv WHERE key = ?", 30, "; there are no bound values: write the value itself");
    check(
        "INSERT INTO kv ('key', 'value') VALUES ('a', 'b')",
        17,
        "; a name is without quotes, or in double quotes",
    );
    let backslash = "; a quote in a string is doubled, as in 'it''s': a backslash escapes nothing";
    check("INSERT INTO kv (key, value) VALUES ('it\\'s', 'b')", 42, backslash);
    check("SELECT * FROM kv WHERE key = \\'a\\'", 30, backslash);
    let straight = "; a string is in straight single quotes: 'abc'";
    check("SELECT * FROM kv WHERE key = ‘a’", 30, straight);
    check("SELECT * FROM kv WHERE key = “a”", 30, straight);
    check("SELECT * FROM `kv`", 15, straight);
    check("SELECT\u{a0}* FROM kv", 7, "type the blank anew");
    check("SELECT \u{200b}* FROM kv", 8, "it is not seen, and does not belong there");
    check("SELECT\0*", 7, "It has to be in UTF-8");
    check("# all\nSELECT 1", 1, "; a comment begins with -- or //");
    for kind in ["UNLOGGED", "logged", "COUNTER"] {
        let text = format!("BEGIN {kind} BATCH APPLY BATCH");
        check(&text, 7, "; write BEGIN BATCH: each statement of a batch is applied on its own");
    }
    for command in ["COPY kv FROM 'x'", "SOURCE 'x'", "expand on", "MORE"] {
        check(command, 1, "is a command of the shell (dunlin shell), not of the server");
    }
    // What only looks strange is right.
    parse("select count(*) from KV").unwrap();
    parse("SELECT * FROM kv WHERE key = '“”`\\ #'").unwrap();
    parse("DESC TABLE kv").unwrap();
    let open = SyntaxError::unfinished("INSERT 'it\\'s'); ", 14, crate::splitter::Part::Text);
    assert!(open.message.ends_with(backslash), "{}", open.message);
}

fn name() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,6}",
        "[a-zA-Z0-9 .\"é;]{1,6}",
        Just("table".to_owned()),
        Just("count".to_owned())
    ]
    .boxed()
}

fn table() -> BoxedStrategy<TableName> {
    (prop::option::of(name()), name()).prop_map(|(keyspace, table)| TableName { keyspace, table }).boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof!["[a-z'$;é\n\\\\-]{0,10}", any::<String>()].boxed()
}

fn literal() -> BoxedStrategy<Literal> {
    prop_oneof![
        text().prop_map(Literal::Text),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Literal::Blob),
        any::<i64>().prop_map(|n| Literal::Integer(n.into())),
        prop_oneof![prop::num::f64::NORMAL, Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)]
            .prop_map(Literal::Double),
        any::<bool>().prop_map(Literal::Boolean),
        any::<u128>().prop_map(|id| Literal::Uuid(Uuid::from_u128(id))),
        Just(Literal::Null),
    ]
    .boxed()
}

fn using() -> BoxedStrategy<Using> {
    let some = |strategy: BoxedStrategy<String>| prop::option::weighted(0.3, strategy);
    (
        prop::option::weighted(0.3, prop::sample::select(&Consistency::ALL[..])),
        prop::option::weighted(0.3, any::<i32>().prop_map(i128::from)),
        some(text().boxed()),
        some(text().boxed()),
        prop::option::weighted(0.3, any::<u64>().prop_map(i128::from)),
        prop::option::weighted(0.3, any::<u32>().prop_map(|us| Duration::from_micros(us.into()))),
        prop::option::weighted(0.3, any::<bool>()),
        prop::option::weighted(0.3, any::<u128>().prop_map(Uuid::from_u128)),
        some(text().boxed()),
    )
        .prop_map(|(consistency, ttl_s, context, after, timestamp_us, timeout, synced, request, page)| {
            Using {
                consistency,
                ttl_s,
                context,
                after,
                timestamp_us,
                timeout,
                durability: synced
                    .map(|synced| if synced { Durability::Synced } else { Durability::Buffered }),
                request,
                page,
            }
        })
        .boxed()
}

fn write() -> BoxedStrategy<WriteStatement> {
    let cells = prop::collection::vec((name(), literal()), 1..4);
    prop_oneof![
        (table(), cells, using()).prop_map(|(table, cells, using)| {
            let (columns, values) = cells.into_iter().unzip();
            WriteStatement::Insert { table, columns, values, using }
        }),
        (table(), using(), name(), literal(), name(), literal()).prop_map(
            |(table, using, column, value, key_column, key)| WriteStatement::Update {
                table,
                using,
                column,
                value,
                key_column,
                key
            }
        ),
        (table(), using(), name(), literal()).prop_map(|(table, using, key_column, key)| {
            WriteStatement::Delete { table, using, key_column, key }
        }),
    ]
    .boxed()
}

fn select() -> BoxedStrategy<SelectStatement> {
    let item = prop_oneof![
        name().prop_map(SelectItem::Column),
        name().prop_map(SelectItem::Context),
        name().prop_map(SelectItem::Ttl),
        name().prop_map(SelectItem::WriteTime),
        name().prop_map(SelectItem::Token),
        Just(SelectItem::Count),
    ];
    let comparison = prop::sample::select(
        &[Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual][..],
    );
    let bounds = prop::collection::vec((comparison, any::<i64>().prop_map(i128::from)), 1..3);
    let condition = prop_oneof![
        Just(Condition::All),
        (name(), literal()).prop_map(|(column, key)| Condition::Equals { column, key }),
        (name(), prop::collection::vec(literal(), 1..4))
            .prop_map(|(column, keys)| Condition::In { column, keys }),
        (name(), bounds).prop_map(|(column, bounds)| Condition::Tokens { column, bounds }),
    ];
    (prop::collection::vec(item, 0..4), table(), condition, prop::option::of(1u64..), using())
        .prop_map(|(items, table, condition, limit, using)| SelectStatement {
            items,
            table,
            condition,
            limit,
            using,
        })
        .boxed()
}

fn options(min: usize) -> BoxedStrategy<Vec<WithOption>> {
    let map = prop::collection::vec((literal(), literal()), 0..3).prop_map(OptionValue::Map);
    let value = prop_oneof![literal().prop_map(OptionValue::Literal), map];
    prop::collection::vec((name(), value).prop_map(|(name, value)| WithOption { name, value }), min..3)
        .boxed()
}

fn column() -> BoxedStrategy<ColumnSpec> {
    let type_name = prop::sample::select(&["text", "uuid", "map<text,list<int>>"][..]);
    (name(), type_name, any::<bool>())
        .prop_map(|(name, type_name, primary_key)| ColumnSpec {
            name,
            type_name: type_name.into(),
            primary_key,
        })
        .boxed()
}

fn definition() -> BoxedStrategy<Statement> {
    let create_table = (
        any::<bool>(),
        table(),
        prop::collection::vec(column(), 1..4),
        prop::collection::vec(name(), 0..3),
        options(0),
    );
    prop_oneof![
        (any::<bool>(), name(), options(1)).prop_map(|(if_not_exists, name, options)| {
            Statement::CreateKeyspace { if_not_exists, name, options }
        }),
        (name(), options(1)).prop_map(|(name, options)| Statement::AlterKeyspace { name, options }),
        (any::<bool>(), name()).prop_map(|(if_exists, name)| Statement::DropKeyspace { if_exists, name }),
        create_table.prop_map(|(if_not_exists, table, columns, primary_key, options)| {
            Statement::CreateTable { if_not_exists, table, columns, primary_key, options }
        }),
        (table(), options(1)).prop_map(|(table, options)| Statement::AlterTable { table, options }),
        (any::<bool>(), table()).prop_map(|(if_exists, table)| Statement::DropTable { if_exists, table }),
        table().prop_map(|table| Statement::Truncate { table }),
    ]
    .boxed()
}

fn session() -> BoxedStrategy<Statement> {
    let describe = prop_oneof![
        Just(DescribeStatement::Keyspaces),
        Just(DescribeStatement::Tables),
        Just(DescribeStatement::Cluster),
        Just(DescribeStatement::Schema),
        name().prop_map(DescribeStatement::Keyspace),
        table().prop_map(DescribeStatement::Table),
    ];
    prop_oneof![
        name().prop_map(|keyspace| Statement::Use { keyspace }),
        prop::option::of(prop::sample::select(&Consistency::ALL[..])).prop_map(Statement::Consistency),
        any::<bool>().prop_map(Statement::Tracing),
        Just(Statement::ShowTracing),
        Just(Statement::ShowPaging),
        prop::option::of(1u32..1000).prop_map(Statement::Paging),
        (text(), text()).prop_map(|(user, password)| Statement::Login { user, password }),
        describe.prop_map(Statement::Describe),
        Just(Statement::ShowVersion),
        Just(Statement::ShowSession),
        select().prop_map(Statement::Explain),
        prop::option::of("[a-z]{1,5}( [a-z]{1,5})?").prop_map(Statement::Help),
        Just(Statement::Quit),
    ]
    .boxed()
}

fn statement() -> BoxedStrategy<Statement> {
    let batch = (using(), prop::collection::vec(write(), 0..3));
    prop_oneof![
        3 => definition(),
        2 => write().prop_map(Statement::Write),
        2 => select().prop_map(Statement::Select),
        1 => batch.prop_map(|(using, writes)| Statement::Batch { using, writes }),
        3 => session(),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_printed_statement_parses_back(statement in statement()) {
        let text = statement.to_string();
        prop_assert_eq!(parse(&text), Ok(statement.clone()), "{}", text);
        // And the splitter agrees on where it ends.
        let stream = format!("{text};QUIT;");
        let mut splitter = crate::Splitter::new();
        prop_assert_eq!(splitter.feed(stream.as_bytes()), Some(text.len() + 1), "{}", text);
        prop_assert_eq!(parse(&stream[..text.len() + 1]), Ok(statement));
    }

    /// Blanks, marks and comments between any two words change nothing, and the splitter passes over them too.
    #[test]
    fn what_stands_between_words_does_not_matter(
        statement in statement(),
        between in prop::collection::vec(
            prop::sample::select(&[" ", "\n", "\u{feff}", "\u{b}", "-- ;'\n", "// \"\n", "/* ;'$$ */", "/**/", "\r\n"][..]),
            1..20,
        ),
    ) {
        let text = statement.to_string();
        let (mut lexer, mut spaced) = (Lexer::new(&text), String::new());
        for between in between.iter().cycle() {
            // A sign and a comment of dashes behind it would be another comment.
            spaced.push(' ');
            spaced.push_str(between);
            let token = lexer.take_token().unwrap();
            if token.kind == TokenKind::End {
                break;
            }
            spaced.push_str(&text[token.start..token.end]);
        }
        prop_assert_eq!(parse(&spaced), Ok(statement), "{}", spaced);
        spaced.push(';');
        let mut splitter = crate::Splitter::new();
        prop_assert_eq!(splitter.feed(format!("{spaced}USE x;").as_bytes()), Some(spaced.len()), "{}", spaced);
    }

    #[test]
    fn damaged_statements_do_not_make_it_panic(statement in statement(), at: prop::sample::Index, with in any::<Option<char>>()) {
        let mut chars: Vec<char> = statement.to_string().chars().collect();
        let at = at.index(chars.len());
        match with {
            Some(c) => chars[at] = c,
            None => chars.truncate(at),
        }
        let text: String = chars.into_iter().collect();
        let _ = parse(&text);
        let _ = expected_at_end(&text);
    }

    #[test]
    fn words_in_any_order_do_not_make_it_panic(
        words in prop::collection::vec(prop::sample::select(&[
            "SELECT", "FROM", "WHERE", "kv", "=", "(", ")", ",", "'a'", "1", "TOKEN", "IN", "USING", "AND", "TTL",
            "INSERT", "INTO", "VALUES", "BEGIN", "BATCH", "APPLY", ";", "CREATE", "TABLE", "PRIMARY", "KEY", "WITH",
            "{", "}", ":", "<", ">", "*", "-", ".", "DESCRIBE", "HELP", "\"x\"",
        ][..]), 0..14),
    ) {
        let _ = parse(&words.join(" "));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text);
    }
}
