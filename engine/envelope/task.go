package envelope

import (
	"bytes"

	"github.com/pointsman/pointsman/sdk/abi"
)

// How much of a text DetectTask reads: instructions stand at the beginning or the end of what is pasted.
const (
	taskHead = 192
	taskTail = 96
)

// taskBar is the least score that counts as a sign.
const taskBar = 2

// DetectTask guesses the kind of task from a user's text, given as the raw contents of a JSON string. It is a cheap
// and deterministic hint: code fences and English key words in the first 192 and last 96 bytes score for a task, the
// highest score of at least 2 wins, ties go to the more explicit kind, and text without a sign is chat. A request that
// knows better says so in pointsman.task.
func DetectTask(raw []byte) uint8 {
	var score [abi.TaskReasoning + 1]int
	head := raw
	if len(raw) > taskHead+taskTail {
		head = raw[:taskHead]
		scoreText(&score, raw[len(raw)-taskTail:])
	}
	scoreText(&score, head)
	best, at := uint8(abi.TaskChat), taskBar-1
	for _, task := range [...]uint8{
		abi.TaskTranslation, abi.TaskSummarization, abi.TaskCode, abi.TaskRAG, abi.TaskReasoning, abi.TaskCreative, abi.TaskAnalysis,
	} {
		if score[task] > at {
			best, at = task, score[task]
		}
	}
	return best
}

func scoreText(score *[abi.TaskReasoning + 1]int, raw []byte) {
	if bytes.Contains(raw, []byte("```")) {
		score[abi.TaskCode] += taskBar
	}
	var buf [maxWord]byte
	n := 0
	for i := 0; i <= len(raw); i++ {
		c := byte(' ')
		if i < len(raw) {
			c = raw[i]
		}
		if lower := c | 0x20; lower-'a' < 26 {
			if n < maxWord {
				buf[n] = lower
			}
			n++
			continue
		}
		if n >= minWord && n <= maxWord {
			task, weight := scoreWord(buf[:n])
			score[task] += weight
		}
		n = 0
		if c == '\\' {
			i++ // the letter of an escape such as \n is not part of a word
		}
	}
}

// Words outside these lengths are in no list.
const (
	minWord = 3
	maxWord = 13
)

// scoreWord tells which task a lower-case word speaks for: strongly (2) or together with another (1).
func scoreWord(word []byte) (task, weight int) {
	switch string(word) {
	case "translate", "translation", "traduire", "traduce":
		return abi.TaskTranslation, 2
	case "summarize", "summarise", "summary", "tldr", "condense", "recap":
		return abi.TaskSummarization, 2
	case "code", "function", "refactor", "debug", "compile", "compiler", "python", "golang", "javascript", "typescript",
		"sql", "regex", "stacktrace", "traceback", "segfault", "unittest":
		return abi.TaskCode, 2
	case "bug", "class", "method", "import", "func", "def", "struct", "script", "rust", "java", "query", "exception":
		return abi.TaskCode, 1
	case "context", "passage", "passages", "excerpt", "excerpts", "documents", "sources", "cite", "citations":
		return abi.TaskRAG, 1
	case "prove", "proof", "theorem", "puzzle", "riddle", "derive", "integral":
		return abi.TaskReasoning, 2
	case "solve", "equation", "logic", "step", "reason", "deduce", "probability":
		return abi.TaskReasoning, 1
	case "poem", "haiku", "lyrics", "limerick", "sonnet", "slogan", "screenplay":
		return abi.TaskCreative, 2
	case "story", "character", "fiction", "novel", "creative", "brainstorm", "write", "imagine":
		return abi.TaskCreative, 1
	case "analyze", "analyse", "analysis":
		return abi.TaskAnalysis, 2
	case "compare", "evaluate", "trend", "trends", "dataset", "statistics", "report", "metrics", "insights":
		return abi.TaskAnalysis, 1
	}
	return abi.TaskUnknown, 0
}
