package openai

// OperationPaths are OpenAI's paths of operations beside conversations, embeddings and the list of models, by the names that
// endpoints have for them; none given stands for all. Which of them a compatible provider has, its own documentation tells.
func OperationPaths(names ...string) map[string]string {
	all := map[string]string{
		"images":         "/images/generations",
		"speech":         "/audio/speech",
		"transcriptions": "/audio/transcriptions",
		"translations":   "/audio/translations",
		"moderations":    "/moderations",
		"rerank":         "/rerank", // not OpenAI's: as Cohere, Jina and servers compatible with OpenAI have it
	}
	if len(names) == 0 {
		return all
	}
	some := make(map[string]string, len(names))
	for _, name := range names {
		some[name] = all[name]
	}
	return some
}
