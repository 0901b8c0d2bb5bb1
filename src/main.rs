//! The `tidegate` program: reads the command line and hands over to the library.

fn main() -> std::process::ExitCode {
    tidegate::app::main()
}
