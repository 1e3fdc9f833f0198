use super::*;
use proptest::prelude::*;

/// Statements and the unfinished rest, fed in pieces of that many bytes.
fn split(text: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut splitter, mut found, mut rest) = (Splitter::new(), Vec::new(), Vec::new());
    for mut piece in text.chunks(piece) {
        while let Some(end) = splitter.feed(piece) {
            rest.extend_from_slice(&piece[..end]);
            found.push(std::mem::take(&mut rest));
            piece = &piece[end..];
        }
        rest.extend_from_slice(piece);
    }
    (found, rest)
}

fn check(text: &str, expected: &[&str], rest: &str) {
    for piece in [1, 2, 3, 1000] {
        let (found, left) = split(text.as_bytes(), piece);
        let found: Vec<_> = found.iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
        assert_eq!(found, expected, "in pieces of {piece}");
        assert_eq!(left, rest.as_bytes(), "in pieces of {piece}");
    }
}

#[test]
fn semicolons_end_statements_outside_of_quotes_and_comments() {
    check("a;b;c", &["a;", "b;"], "c");
    check("INSERT 'a;''b;';x", &["INSERT 'a;''b;';"], "x");
    check("$$a;'$b$$;x$;$$$;", &["$$a;'$b$$;", "x$;"], "$$$;");
    check("\"a;\"\"\";x", &["\"a;\"\"\";"], "x");
    check("a -- b;\n;c // d;\n;/* ;*/ e /*/;**/;", &["a -- b;\n;", "c // d;\n;", "/* ;*/ e /*/;**/;"], "");
    check("a - b; c / d;", &["a - b;", " c / d;"], "");
    check("a-;b/;c$;", &["a-;", "b/;", "c$;"], "");
    check(";;", &[";", ";"], "");
}

#[test]
fn a_batch_ends_with_apply_batch() {
    let batch = "begin BATCH insert 'x;'; delete; APPLY /* ; */ Batch;";
    check(&format!("{batch}next;"), &[batch, "next;"], "");
    check("BEGIN BATCH a APPLY BATCH;b", &["BEGIN BATCH a APPLY BATCH;"], "b");
    check("BEGIN;BATCH;", &["BEGIN;", "BATCH;"], "");
    check("BEGIN TRANSACTION;x;", &["BEGIN TRANSACTION;", "x;"], "");
    check("BEGIN \"BATCH\";", &["BEGIN \"BATCH\";"], "");
    check("BEGIN 'x' BATCH;", &["BEGIN 'x' BATCH;"], "");
    check("HELP BEGIN BATCH; help begin batch;", &["HELP BEGIN BATCH;", " help begin batch;"], "");
    check("SELECT begin FROM batch; b;", &["SELECT begin FROM batch;", " b;"], "");
    check(
        "BEGIN BATCH x 'APPLY' BATCH; y APPLY x BATCH;",
        &[],
        "BEGIN BATCH x 'APPLY' BATCH; y APPLY x BATCH;",
    );
}

/// Text that is wrong must not come apart in such a way that a part of a batch is a statement of its own.
#[test]
fn a_batch_is_not_cut_by_what_does_not_belong_there() {
    for before in [
        "",
        "\u{feff}",
        "\u{b}",
        "\u{feff} -- x\n\u{feff}",
        "\u{a0}",
        "\u{ff08}",
        "(",
        "1",
        "? ",
        "'a'",
        "$ ",
        "SELECT * FROM kv\n",
        "\0",
        "\u{feff}\u{feff}/* ; */",
    ] {
        for begin in [
            "BEGIN BATCH",
            "begin/**/batch",
            "BEGIN --\n BATCH",
            "BEGIN\u{feff}BATCH",
            "BEGIN UNLOGGED BATCH",
            "BEGIN LOGGED BATCH",
            "Begin Counter Batch",
            "BEGIN BATCH;",
            "BEGIN BATCH USING TTL 5",
        ] {
            // A digit makes another word of what follows it.
            let before = if before == "1" { "1 " } else { before };
            for apply in [
                "APPLY BATCH",
                "x APPLY\u{feff}BATCH",
                "apply /*;*/ batch",
                "APPLY BATCH)",
                "APPLY",
                "APPLY BACTH",
            ] {
                let text = format!("{before}{begin} a; b (c); 'd;' \";\" $$;$$; {apply};");
                check(&format!("{text}next;"), &[&text, "next;"], "");
            }
        }
    }
    let nested = "BEGIN BATCH a; BEGIN BATCH b; APPLY BATCH; c; APPLY BATCH;";
    check(&format!("{nested}d;"), &[nested, "d;"], "");
}

#[test]
fn blanks_and_comments_are_not_a_statement() {
    let at_start = |text: &str| {
        let mut splitter = Splitter::new();
        let mut rest = text.as_bytes();
        while let Some(end) = splitter.feed(rest) {
            rest = &rest[end..];
        }
        splitter.is_at_start()
    };
    assert!(at_start(""));
    assert!(at_start(" \n -- x\n /* y */ "));
    assert!(at_start("a; "));
    assert!(at_start("\u{feff}"));
    assert!(at_start("a;\u{feff}\u{b} -- x"));
    for text in ["a; b", "'", "/* x", "(", "-", "\u{a0}", "1", "BEGIN"] {
        assert!(!at_start(text), "{text}");
    }
}

fn check_open(text: &str, expected: Option<(Part, &str)>) {
    for piece in [1, 3, 1000] {
        let mut splitter = Splitter::new();
        for piece in text.as_bytes().chunks(piece) {
            assert_eq!(splitter.feed(piece), None, "{text}");
        }
        let found = splitter.open().map(|open| (open.part, &text[open.offset..]));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_open_and_since_where() {
    check_open(" -- a\n/* b */ ", None);
    check_open(" SELECT 'it''s; ", Some((Part::Text, "'it''s; ")));
    check_open(" SELECT 'it''s' 'b", Some((Part::Text, "'b")));
    check_open("'a'\"b", Some((Part::QuotedName, "\"b")));
    check_open("a \"b\"\"c", Some((Part::QuotedName, "\"b\"\"c")));
    check_open("x $$y$", Some((Part::RawText, "$$y$")));
    check_open("-- x\n /* ' *", Some((Part::Comment, "/* ' *")));
    check_open("a /* b */ /* c", Some((Part::Comment, "/* c")));
    check_open("/* x */ SELECT 1 -- y", Some((Part::Statement, "SELECT 1 -- y")));
    check_open("-- x\n -", Some((Part::Statement, "-")));
    check_open("(x", Some((Part::Statement, "(x")));
    check_open("( BEGIN BATCH a; b", Some((Part::Batch, "BEGIN BATCH a; b")));
    check_open("BEGIN BATCH", Some((Part::Batch, "BEGIN BATCH")));
    check_open("BEGIN BATCH a; '", Some((Part::Text, "'")));
    check_open(
        "BEGIN BATCH a; BEGIN BATCH b; APPLY BATCH; c",
        Some((Part::Batch, "BEGIN BATCH a; BEGIN BATCH b; APPLY BATCH; c")),
    );
    for whole in
        ["BEGIN BATCH a; APPLY BATCH", "BEGIN BATCH a APPLY BATCH", "BEGIN BATCH a; APPLY BATCH -- x"]
    {
        check_open(whole, Some((Part::Statement, whole)));
    }
}

#[test]
fn a_text_in_pieces() {
    let text = "\u{feff}-- prices\nSELECT 1;;\n\n  /* b */ é 'x\ny'; USE z -- why\n";
    let pieces: Vec<_> = statements(text).collect();
    let shown: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.text, piece.start.to_string(), piece.body, piece.body_start.to_string()))
        .collect();
    let of =
        |text, start: &str, body, body_start: &str| (text, start.to_owned(), body, body_start.to_owned());
    let expected = [
        of("-- prices\nSELECT 1;", "line 1, column 1", "SELECT 1", "line 2, column 1"),
        of(";", "line 2, column 10", "", "line 2, column 10"),
        of("/* b */ é 'x\ny';", "line 4, column 3", "é 'x\ny'", "line 4, column 11"),
        of("USE z -- why", "line 5, column 5", "USE z -- why", "line 5, column 5"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(pieces[3].to_send().as_deref(), Some("USE z -- why\n;"));
    assert_eq!(pieces[3].place_of(1, 5), (5, 9));
    assert_eq!(pieces[2].place_of(2, 2), (5, 2));
    assert!(pieces[1].is_blank() && pieces[1].is_terminated && pieces[1].to_send().is_none());
    assert!(statements(" \n\u{feff} ").next().is_none());
    let comments = statements("-- a;\n/* b; */\n").next().unwrap();
    assert!(comments.is_blank() && comments.unfinished.is_none());
}

#[test]
fn what_is_not_closed_is_said_with_its_place() {
    let check = |text: &str, expected: &str| {
        let piece = statements(text).last().unwrap();
        assert_eq!(piece.unfinished.unwrap().to_string(), expected);
        assert_eq!(piece.to_send(), None);
    };
    check("a;\n\nb\n  , c 'd", "the string that starts at line 4, column 7 is not closed: ' is missing");
    check("a; \"b", "the quoted name that starts at line 1, column 4 is not closed: \" is missing");
    check("a; $$b", "the string that starts at line 1, column 4 is not closed: $$ is missing");
    check("/* never", "the comment that starts at line 1, column 1 is not closed: */ is missing");
    check(
        "a;\nBEGIN BATCH b;",
        "the batch that starts at line 2, column 1 is not ended: APPLY BATCH; is missing",
    );
}

#[test]
fn comments_become_blanks() {
    assert_eq!(without_comments("COPY kv -- x\nFROM/**/'a--b' // c"), "COPY kv  \nFROM 'a--b'  ");
    assert_eq!(without_comments("a - b / c"), "a - b / c");
    assert_eq!(without_comments("/* open"), " ");
}

/// Fragments that are easily taken for one another.
fn near_the_language() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(
        &[
            "BEGIN",
            "BATCH",
            "APPLY",
            "begin batch ",
            " apply batch",
            "UNLOGGED",
            "counter",
            "HELP ",
            "x",
            " ",
            " ",
            "\n",
            ";",
            ";",
            "'a;'",
            "'it''s'",
            "\"q;\"\"\"",
            "$$;'$$",
            "$",
            "-- c;\n",
            "// c'\n",
            "/*;*/",
            "/*'*/",
            "\u{feff}",
            "\u{a0}",
            "\u{b}",
            "\u{fffb}",
            "(",
            ")",
            "-",
            "/",
            " 1 ",
            "1.5 ",
            "550e8400-e29b-41d4-a716-446655440000 ",
            "é",
            "\0",
            "'",
            "\"",
            "$$",
            "/*",
            "--",
            "//",
            "*/",
            "\r\n",
            "0xab ",
            "=",
            ".",
        ][..],
    );
    prop::collection::vec(fragments, 0..40).prop_map(|all| all.concat())
}

/// Where statements end by the lexer's tokens; what the lexer refuses counts as a token that is no word. The second:
/// where something starts that is never closed.
fn ends_by_tokens(text: &str) -> (Vec<usize>, Option<usize>) {
    use crate::lexer::{Lexer, TokenKind};
    let (mut lexer, mut ends) = (Lexer::new(text), Vec::new());
    let (mut depth, mut first): (usize, Option<String>) = (0, None);
    let mut words: Vec<String> = Vec::new();
    loop {
        let token = match lexer.take_token() {
            Ok(token) => token,
            Err(error) if error.message.contains("that starts here") => return (ends, Some(lexer.offset())),
            Err(_) => {
                lexer.skip_character();
                first.get_or_insert_default();
                words.push(String::new());
                continue;
            }
        };
        let word = match token.kind {
            TokenKind::End => return (ends, None),
            TokenKind::Symbol(";") => {
                let applied = words.first().is_some_and(|w| w == "apply")
                    || words.windows(2).any(|two| two == ["apply", "batch"]);
                depth = depth.saturating_sub(usize::from(applied));
                words.clear();
                if depth == 0 {
                    first = None;
                    ends.push(token.end);
                }
                continue;
            }
            TokenKind::Word(word) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        let applied = depth > 0
            && (words.first().is_some_and(|w| w == "apply")
                || words.windows(2).any(|two| two == ["apply", "batch"]));
        words.push(word.clone());
        let begins = match words.as_slice() {
            [.., begin, batch] if begin == "begin" => batch == "batch",
            [.., begin, kind, batch] if begin == "begin" && batch == "batch" => {
                ["unlogged", "logged", "counter"].contains(&kind.as_str())
            }
            _ => false,
        };
        if begins && !applied && first.as_deref() != Some("help") {
            depth += 1;
            words.clear();
        }
        first.get_or_insert(word);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_splitter_and_the_lexer_agree(text in near_the_language()) {
        let (expected, open) = ends_by_tokens(&text);
        let pieces: Vec<_> = statements(&text).collect();
        let ends: Vec<_> =
            pieces.iter().filter(|p| p.is_terminated).map(|p| p.start.offset + p.text.len()).collect();
        prop_assert_eq!(&ends, &expected);
        let unfinished = pieces.last().and_then(|piece| piece.unfinished);
        let not_closed = unfinished.filter(|u| !matches!(u.part, Part::Batch | Part::Statement));
        prop_assert_eq!(not_closed.map(|u| u.place.offset), open);
    }

    #[test]
    fn what_is_sent_is_one_statement(text in near_the_language()) {
        for piece in statements(&text) {
            prop_assert_eq!(&text[piece.start.offset..][..piece.text.len()], piece.text);
            if let Some(sent) = piece.to_send() {
                prop_assert_eq!(Splitter::new().feed(sent.as_bytes()), Some(sent.len()));
                prop_assert!(!piece.body.is_empty());
            }
        }
    }

    #[test]
    fn nothing_of_a_text_is_left_out(text in near_the_language()) {
        let mut at = 0;
        for piece in statements(&text) {
            let between = &text.as_bytes()[at..piece.start.offset];
            prop_assert_eq!(leading_blanks(between), between.len());
            at = piece.start.offset + piece.text.len();
        }
        prop_assert_eq!(leading_blanks(&text.as_bytes()[at..]), text.len() - at);
    }

    #[test]
    fn comments_are_no_part_of_the_tokens(text in near_the_language()) {
        let kinds = |text: &str| {
            let mut lexer = crate::lexer::Lexer::new(text);
            let mut kinds = Vec::new();
            while let Ok(token) = lexer.take_token() {
                if token.kind == crate::lexer::TokenKind::End {
                    return Some(kinds);
                }
                kinds.push(format!("{:?}", token.kind));
            }
            None
        };
        if let Some(expected) = kinds(&text) {
            prop_assert_eq!(kinds(&without_comments(&text)), Some(expected));
        }
    }

    #[test]
    fn pieces_do_not_matter(text in near_the_language(), piece in 1usize..7) {
        prop_assert_eq!(split(text.as_bytes(), piece), split(text.as_bytes(), 1000));
        let open = |piece: usize| {
            let mut splitter = Splitter::new();
            for mut bytes in text.as_bytes().chunks(piece) {
                while let Some(end) = splitter.feed(bytes) {
                    bytes = &bytes[end..];
                }
            }
            splitter.open()
        };
        prop_assert_eq!(open(piece), open(1000));
    }

    #[test]
    fn nothing_is_lost(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (found, rest) = split(&bytes, 5);
        prop_assert_eq!([found.concat(), rest].concat(), bytes);
    }
}
