// What packs the vocabularies of engine/tokens, and counts with another implementation to check it, apart from the
// gateway's own modules: building and testing the gateway needs none of it.
module github.com/pointsman/pointsman/tools/vocabulary

go 1.26.0

require (
	github.com/klauspost/compress v1.20.3
	github.com/pkoukk/tiktoken-go-loader v0.0.2
	github.com/tiktoken-go/tokenizer v0.7.0 // 0.10.0 cuts " \n \n" after its first line break, unlike tiktoken itself
)

require github.com/dlclark/regexp2 v1.11.5 // indirect
