//! HELP of what the shell does itself.

/// Shown behind a node's overview.
pub const OVERVIEW: &str = "
In this shell also:
  files      COPY  SOURCE
  answers    MORE  EXPAND  CLEAR  SHOW HOST

At the prompt quit, exit, help, ?, clear, more and expand need no ; and Enter alone is MORE. Ctrl-C ends a statement, not the shell.";

/// The page of a topic that nodes know nothing of.
pub fn topic(topic: &str) -> Option<&'static str> {
    let words: Vec<String> = topic.split_whitespace().map(str::to_ascii_lowercase).collect();
    let found = match words.join(" ").as_str() {
        "copy" => COPY,
        "source" => SOURCE,
        "more" => MORE,
        "expand" => EXPAND,
        "clear" => CLEAR,
        "show host" => SHOW_HOST,
        _ => return None,
    };
    Some(found)
}

const COPY: &str = r#"COPY table [(column, ...)] FROM 'file.csv' | STDIN [WITH option = value [AND ...]]
COPY table [(column, ...)] TO 'file.csv' | STDOUT [WITH option = value [AND ...]]
  FROM loads the rows of a CSV file, the last row of a key wins. A row that cannot be taken is told with its line and
  counted, the rest is loaded; one that fails since nodes are away is tried again for a minute. Exit status 1 if any row
  was rejected. TO writes a table's rows; the file is there when it is whole.
  Columns: the table's two in any order, and CONTEXT(value), TTL(value). With CONTEXT(value), rows of one key and one
  context that follow one another are concurrent values and come back as such; without it, TO refuses such a table.
  Options:
    header = true         the first row names the columns, in any order
    delimiter = ';'       between cells; '\t' is a tab
    quote = ''''          around cells, instead of "
    escape = '\'          before a quote in quotes, as cqlsh writes it, instead of doubling it
    encoding = 'utf8'     the only one
    rejects = 'bad.csv'   FROM: line, reason and text of every row that was not taken
  STDIN in a text of statements, or at the prompt: the rows follow, up to a line with \. alone.
  COPY kv FROM 'rows.csv' WITH header = true AND rejects = 'bad.csv';
  COPY kv (key, value, CONTEXT(value)) TO 'all.csv' WITH header = true;"#;

const SOURCE: &str = "\
SOURCE 'file'
  Runs the statements of a file and stops at the first that fails. A name that does not begin with / is looked for
  beside the file that says SOURCE; at the prompt, where the shell was started.
  SOURCE 'schema.cql';";

const MORE: &str = "\
MORE
  The next page of the SELECT that was stopped at the end of one; Enter alone does the same. Any other statement gives
  the rest up. PAGING sets how long a page is. Without a terminal all pages are shown.";

const EXPAND: &str = "\
EXPAND [ON | OFF]
  ON shows every row as lines of name and value, whole; OFF as a table, in which values wider than the terminal are cut
  with an ellipsis. Of no effect with --format tsv and json, where values are always whole.";

const CLEAR: &str = "\
CLEAR
  Clears the screen, as Ctrl-L does.";

const SHOW_HOST: &str = "\
SHOW HOST
  The node that this shell talks to; another one if the first went away.";
