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

const COPY: &str = "\
COPY table [(key, value)] FROM|TO 'file.csv' [WITH header = true|false [AND delimiter = ',']]
  Loads the rows of a CSV file, or writes a table's rows to one. FROM tries a row again while nodes are away.
  COPY kv FROM 'rows.csv' WITH header = true;";

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
