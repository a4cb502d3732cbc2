package tokens

import "strings"

// Family is a line of models that share a vocabulary. The zero Family counts as o200k_base does.
//
// OpenAI's are counted exactly. Of the others we have no vocabulary on board: their tokens are taken to be those of o200k_base
// times a factor, which depends on the writing, since vocabularies differ little about English and much about the rest. The
// factors were measured with the vocabularies that the makers published, over English prose, Go and Python source, JSON and
// a sentence in each of forty languages; behind them are the lowest and highest mean of one kind of text. They are rounded
// to the dear side, and a [Ratio] corrects them by what providers report.
//
//	           plain                East Asian           other
//	llama      1.00 (1.00 to 1.00)  1.00 (0.84 to 1.00)  1.60 (1.09 to 3.88)
//	qwen       1.05 (1.00 to 1.16)  0.90 (0.69 to 1.04)  1.50 (1.15 to 3.35)
//	deepseek   1.05 (1.00 to 1.08)  0.90 (0.76 to 1.08)  1.30 (1.10 to 1.76)
//	gemini     1.15 (1.05 to 1.26)  0.85 (0.59 to 0.96)  1.00 (0.49 to 1.11) measured with Gemma 3's
//	mistral    1.06 (1.03 to 1.16)  1.05 (0.88 to 1.11)  1.25 (1.01 to 1.78) Tekken of 2024
//	claude     1.20 (1.16 to 1.30)  1.45 (1.14 to 1.83)  2.00 (1.52 to 5.20)
//	claude 4.7 1.56                 1.85                 2.60
//
// Claude's vocabularies since its third generation are not published. The plain factor is what was found with its counting
// API against gpt-4o for English articles (16% more), mathematics (21%) and Python (30%) in 2025; the others are those of
// the last vocabulary that was published, Claude 2's. Anthropic documents that models from Opus 4.7 and Sonnet 5 on make
// about 30% more tokens of the same text than those before.
//
// GLM and Kimi have vocabularies of 151,000 and 160,000 tokens that were trained much as Qwen's, and are counted like it. Of
// Grok's nothing usable is known, nor of models that no prefix matches: they get factors above those of most.
type Family struct {
	Name       string
	Vocabulary Vocabulary
	factors    [writings]int // thousandths; 0: exact
}

// The kinds of writing that factors are kept apart for.
const (
	plain     = iota // ASCII, and punctuation that goes with it
	eastAsian        // Chinese, Japanese, Korean
	elsewise
	writings
)

// Known tells that a name matched.
func (f Family) Known() bool { return f.Name != unknown }

// unknown is the name of the family of models that no prefix matches.
const unknown = "unknown"

// Exact tells that counts are exact and not estimates.
func (f Family) Exact() bool { return f.factors[plain] == 0 }

// FamilyOf finds a model's family by the beginning of its name, or of a part of it: "us.anthropic.claude-opus-5" and
// "accounts/x/models/llama-v3p3-70b" are found as well. The longer of two prefixes stands first.
func FamilyOf(model string) Family {
	name := strings.ToLower(model)
	for _, f := range [...]struct {
		prefixes []string
		Family
	}{
		{[]string{"gpt-oss", "gpt-4o", "gpt-4.1", "gpt-4.5", "chatgpt"}, Family{Name: "o200k"}},
		{[]string{"gpt-4", "gpt-3.5", "gpt-35", "text-embedding"}, Family{Name: "cl100k", Vocabulary: CL100k}},
		{[]string{"gpt-", "o1", "o3", "o4", "codex"}, Family{Name: "o200k"}},
		{[]string{
			"claude-opus-4-7", "claude-opus-4.7", "claude-opus-4-8", "claude-opus-4.8", "claude-opus-4-9", "claude-opus-4.9", "claude-opus-5",
			"claude-sonnet-5", "claude-haiku-5", "claude-fable", "claude-mythos",
		}, Family{Name: "claude 4.7", factors: [writings]int{1560, 1850, 2600}}},
		{[]string{"claude"}, Family{Name: "claude", factors: [writings]int{1200, 1450, 2000}}},
		{[]string{"deepseek-r1-distill-llama", "llama", "meta-llama", "hermes", "nemotron"}, Family{Name: "llama", factors: [writings]int{1000, 1000, 1600}}},
		{[]string{"qwen", "qwq", "qvq", "glm", "kimi", "moonshot", "deepseek-r1-distill-qwen"}, Family{Name: "qwen", factors: [writings]int{1050, 900, 1500}}},
		{[]string{"deepseek"}, Family{Name: "deepseek", factors: [writings]int{1050, 900, 1300}}},
		{[]string{"gemini", "gemma", "learnlm"}, Family{Name: "gemini", factors: [writings]int{1150, 850, 1000}}},
		{
			[]string{"mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral", "voxtral", "open-mistral", "open-mixtral"},
			Family{Name: "mistral", factors: [writings]int{1060, 1050, 1250}},
		},
		{[]string{"grok"}, Family{Name: "grok", factors: [writings]int{1150, 1200, 1600}}},
	} {
		for _, prefix := range f.prefixes {
			if beginsPart(name, prefix) {
				return f.Family
			}
		}
	}
	return Family{Name: unknown, factors: [writings]int{1150, 1200, 1600}}
}

// Reserve makes an estimate from a prompt's length alone one that the family exceeds seldom: the length says what o200k_base
// makes of a text.
func (f Family) Reserve(n int64) int64 {
	return (n*int64(max(f.factors[plain], 1000)) + 999) / 1000
}

// beginsPart tells whether name has the prefix at its beginning or after a character that is no letter.
func beginsPart(name, prefix string) bool {
	for i := 0; ; i++ {
		at := strings.Index(name[i:], prefix)
		if at < 0 {
			return false
		}
		if i += at; i == 0 || name[i-1] < 'a' || name[i-1] > 'z' {
			return true
		}
	}
}

// writing tells which kind of writing a piece is.
func writing(piece []byte) int {
	for _, b := range piece {
		switch {
		case b < 0xc0, b == 0xe2: // ASCII, or the block of dashes and quotation marks
		case b >= 0xe3 && b <= 0xed, b == 0xef:
			return eastAsian
		default:
			return elsewise
		}
	}
	return plain
}

// Tally adds up the tokens of texts for a family. It is not safe for concurrent use.
type Tally struct {
	counter *Counter
	family  Family
	sums    [writings]int64
}

// Tally returns an empty one.
func (c *Counter) Tally(f Family) Tally { return Tally{counter: c, family: f} }

// Add counts a text, alone: what stood before it is no part of its words.
func (t *Tally) Add(text []byte) { t.counter.tally(t.family.Vocabulary, text, &t.sums) }

// Tokens is the sum, rounded up if it is an estimate.
func (t *Tally) Tokens() int64 {
	if t.family.Exact() {
		return t.sums[plain] + t.sums[eastAsian] + t.sums[elsewise]
	}
	sum := int64(0)
	for i, n := range t.sums {
		sum += n * int64(t.family.factors[i])
	}
	return (sum + 999) / 1000
}
