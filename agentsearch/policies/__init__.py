"""What proposes actions: prompts, templates and parsers over an engine."""
