//! What surrounds one invocation: the screen, and the settings that hold.

use crate::cli::options::Global;
use crate::config::{Flag, Layers, Problem, Settings};
use crate::context::{self, Aliases};
use crate::exit::Failure;
use crate::output::{Color, Format, Screen, Streams};

/// What surrounds one invocation.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// Where it writes.
    pub(crate) screen: Screen,
    /// The settings that hold for it.
    pub(crate) settings: Settings,
    /// Where they came from.
    pub(crate) layers: Layers,
}

impl Invocation {
    /// Gathers settings: files, environment, and flags above all. `reach` are the flags of a command that speaks for a
    /// person; for those, and only those, the context file counts too.
    ///
    /// # Errors
    /// When any of them is wrong.
    pub(crate) fn gather(global: &Global, reach: Option<Vec<Flag>>) -> Result<Self, Failure> {
        let layers = layers(global, reach)?;
        let settings = layers.settings().map_err(|wrong| Failure::of_problems(&wrong))?;
        let screen = Screen::new(
            settings.output.format,
            settings.output.color,
            global.quiet,
            Streams::of_process(),
        );
        Ok(Self { screen, settings, layers })
    }

    /// The names that this person gave to accounts.
    ///
    /// # Errors
    /// When the context file is there and cannot be read.
    pub(crate) fn aliases(&self) -> Result<Aliases, Failure> {
        Aliases::open(context::path()?)
    }
}

/// A screen by flags alone: for telling that the settings cannot be read.
pub(crate) fn bare_screen(global: &Global) -> Screen {
    let color = if global.no_color { Color::Never } else { Color::Auto };
    Screen::new(global.output.unwrap_or(Format::Table), color, global.quiet, Streams::of_process())
}

/// Runs a command's calls to their end, on this thread.
///
/// # Errors
/// As the future; and when the process may not open another file.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::io("the runtime", &why))?
        .block_on(future)
}

fn layers(global: &Global, reach: Option<Vec<Flag>>) -> Result<Layers, Failure> {
    // Without a home there is no context, which only those miss who name aliases.
    let path = reach.as_ref().and_then(|_| context::path().ok());
    let context = path.map(Aliases::open).transpose()?;
    let named = context.as_ref().map(|context| (context.path(), context.settings()));
    let flags = global.flags().into_iter().chain(reach.unwrap_or_default()).collect();
    Layers::gather(global.config.as_deref(), named, flags)
        .map_err(|wrong: Problem| Failure::of_problems(&[wrong]))
}
