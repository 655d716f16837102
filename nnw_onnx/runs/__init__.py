"""From an evaluation to records: configuration, plan, injections, trials, costs, engines, store."""
