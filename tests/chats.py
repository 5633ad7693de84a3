"""What holds of every tokenised chat, whichever environment it is about."""


def agree_with_the_template(encoder, tokenizer, demonstrations):
    """The encoder writes what the chat template writes, and prompts are beginnings of chats."""
    for demonstration in demonstrations:
        chat = [{"role": m.role, "content": m.content} for m in demonstration.messages]
        example = encoder.example(demonstration)
        full = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        assert (*example.ids, *encoder.newline) == tuple(full)
        prompt = encoder.prompt(demonstration.messages[:-1])
        assert prompt == example.ids[: len(prompt)] and len(prompt) == example.spans[-1][0]
