//! Finds the blocks of commands in a Markdown text, and reads how each is to be run.

use anyhow::{Context, Result, bail};

/// A fenced block of commands, or of a file that they use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// How to run it; `None` if it is only shown.
    pub(crate) mode: Option<Mode>,
    /// Words in the promises that stand for whatever is printed.
    pub(crate) varies: Vec<String>,
    pub(crate) commands: Vec<Command>,
    /// What a file has; empty for commands.
    pub(crate) content: String,
}

/// What the comment above a block asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Refused,
    Eventually,
    Serve,
    /// The block is written to this file.
    File(String),
}

/// A command after `$ `, and the lines that it is shown to print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line of the file, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) promise: Vec<String>,
}

const COMMENT_OPEN: &str = "<!-- readme:";
const COMMENT_CLOSE: &str = "-->";

/// Reads all `console` blocks of `text`, in order.
pub(crate) fn parse(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut comment: Option<(Mode, Vec<String>)> = None;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(words) = line.trim().strip_prefix(COMMENT_OPEN) {
            let words = words.strip_suffix(COMMENT_CLOSE).context("a comment must end on its line");
            let parsed = words.and_then(parse_comment);
            comment = Some(parsed.with_context(|| format!("README.md:{number}"))?);
        } else if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|(_, line)| !line.starts_with("```")).collect();
            let marked = comment.take();
            if let Some((mode @ Mode::File(_), varies)) = marked {
                let content = body.iter().map(|(_, line)| format!("{line}\n")).collect();
                blocks.push(Block { mode: Some(mode), varies, commands: Vec::new(), content });
            } else if language.trim() == "console" {
                blocks.push(parse_block(marked, &body).with_context(|| format!("README.md:{number}"))?);
            } else if marked.is_some() {
                bail!("README.md:{number}: only a `console` block can be run");
            }
        } else if comment.is_some() && !line.trim().is_empty() {
            bail!("README.md:{number}: a `readme:` comment must stand right above its block");
        }
    }
    if comment.is_some() {
        bail!("the last `readme:` comment has no block");
    }
    Ok(blocks)
}

/// Reads ` run varies: A | B `.
fn parse_comment(words: &str) -> Result<(Mode, Vec<String>)> {
    let (mode, varies) = words.split_once("varies:").unwrap_or((words, ""));
    let mode = match mode.trim() {
        "run" => Mode::Run,
        "refused" => Mode::Refused,
        "eventually" => Mode::Eventually,
        "serve" => Mode::Serve,
        file if file.starts_with("file ") => {
            let name = file.trim_start_matches("file ").trim();
            if name.is_empty() || name.contains('/') {
                bail!("a file is named without folders");
            }
            Mode::File(name.to_owned())
        }
        other => bail!("there is no way to run a block `{other}`"),
    };
    let varies =
        varies.split('|').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok((mode, varies))
}

fn parse_block(marked: Option<(Mode, Vec<String>)>, body: &[(usize, &str)]) -> Result<Block> {
    let (mode, varies) = marked.map_or((None, Vec::new()), |(mode, varies)| (Some(mode), varies));
    let mut commands: Vec<Command> = Vec::new();
    let mut continues = false;
    for (line, text) in body {
        if continues {
            let command = commands.last_mut().expect("only a command continues");
            command.text.push('\n');
            command.text.push_str(text);
            continues = text.ends_with('\\');
        } else if let Some(command) = text.strip_prefix("$ ") {
            commands.push(Command { line: *line, text: command.to_owned(), promise: Vec::new() });
            continues = command.ends_with('\\');
        } else {
            let command = commands.last_mut().context("a `console` block starts with a line `$ command`")?;
            command.promise.push(text.trim_end().to_owned());
        }
    }
    if commands.is_empty() {
        bail!("a `console` block without a command");
    }
    if mode == Some(Mode::Serve) && commands.len() != 1 {
        bail!("a block that serves has one command");
    }
    Ok(Block { mode, varies, commands, content: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_promises_and_marks_are_read() {
        let text = "\
# Title

<!-- readme: serve varies: swift-otter | 9f3a…c1 -->
```console
$ gangline up
node swift-otter
```

```console
$ sudo reboot
```
<!-- readme: run -->

```console
$ echo a \\
    b
a b
$ true
```
";
        let blocks = parse(text).unwrap();
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks[0].mode, Some(Mode::Serve));
        assert_eq!(blocks[0].varies, ["swift-otter", "9f3a…c1"]);
        let up = Command { line: 5, text: "gangline up".into(), promise: vec!["node swift-otter".into()] };
        assert_eq!(blocks[0].commands, [up]);
        assert_eq!(blocks[1].mode, None);
        assert_eq!(blocks[2].commands[0].text, "echo a \\\n    b");
        assert_eq!(blocks[2].commands[0].promise, ["a b"]);
        assert_eq!(blocks[2].commands[1].promise, [""; 0]);
    }

    #[test]
    fn a_file_is_read_as_it_stands() {
        let text = "<!-- readme: file a.toml -->\n```toml\nb = 1\n\nc = 2\n```\n";
        let blocks = parse(text).unwrap();
        assert_eq!(blocks[0].mode, Some(Mode::File("a.toml".into())));
        assert_eq!((blocks[0].content.as_str(), blocks[0].commands.len()), ("b = 1\n\nc = 2\n", 0));
        assert!(parse(&text.replace("a.toml", "../a")).is_err());
    }

    #[test]
    fn other_languages_are_left_alone() {
        assert_eq!(parse("```toml\n$ not a command\n```\n```\nplain\n```\n").unwrap(), []);
    }

    #[test]
    fn marks_that_would_silently_run_nothing_are_errors() {
        for text in [
            "<!-- readme: run -->\n",
            "<!-- readme: run -->\ntext\n```console\n$ a\n```\n",
            "<!-- readme: run -->\n```sh\na\n```\n",
            "<!-- readme: sometimes -->\n```console\n$ a\n```\n",
            "<!-- readme: run\n-->\n```console\n$ a\n```\n",
            "<!-- readme: serve -->\n```console\n$ a\n$ b\n```\n",
            "```console\nno command\n```\n",
            "```console\n```\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
