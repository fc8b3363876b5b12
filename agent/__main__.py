"""The `offhook` command: reads the settings once, picks a sub-command, and wires nothing else.

Where a sub-command lives. Each module in `COMMANDS` exposes two functions::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace, settings: Settings) -> int: ...    # the exit code

- Only the chosen module is imported, so `offhook --help` stays fast; keep what is heavy (torch, pjsua2, matplotlib)
  out of module level, or behind it, so that `offhook talk --help` is fast too.
- `run` starts its own event loop (`asyncio.run`) if it needs one. It returns 0 when all is well and 1 when what it did
  came out badly; it raises an `AgentError` (or the base error of telephony or model) for what the operator can mend:
  that is printed as one line, without a traceback, and the exit code is 1. Usage and configuration errors exit with 2.
- `serve` has no arguments of its own (`agent.gateway.run(settings) -> int`), and `model.training`, which stands below
  this package, gets no settings (`run(args) -> int`).
- Settings come from the environment and `OFFHOOK_CONFIG` alone; what a sub-command takes as an argument is about that
  one run (files, counts, addresses to call).
"""
