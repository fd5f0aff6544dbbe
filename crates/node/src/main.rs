//! `gangline`: one binary for shared boards, kept in step between machines.
//!
//! Thin: [`config`] reads settings, [`assemble`] builds the parts, [`run`] runs them, [`api`] serves people
//! and programs, [`cli`] is the command line. What a board is, how it is stored and how it travels is the
//! business of the crates below. Start reading at [`cli`], then [`assemble`] and [`run`].

mod api;
mod assemble;
mod calls;
mod certificate;
mod cli;
mod clock;
mod config;
mod descriptors;
mod documents;
mod failure;
mod identity;
mod key_file;
mod links;
mod logging;
mod logs;
mod metrics;
mod private_file;
mod ready;
mod run;
mod shutdown;
mod sources;
mod token;
mod trust;
mod url;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
