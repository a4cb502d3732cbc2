package envelope

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
)

// choice is one word an enumerated field accepts, and its code.
type choice struct {
	word string
	code uint8
}

func privacies() []choice {
	return []choice{{"any", abi.PrivacyAny}, {"local", abi.PrivacyLocal}}
}

func latencies() []choice {
	return []choice{{"instant", abi.LatencyInstant}, {"fast", abi.LatencyFast}, {"normal", abi.LatencyNormal}}
}

func tasks() []choice {
	return []choice{
		{"code", abi.TaskCode},
		{"chat", abi.TaskChat},
		{"rag", abi.TaskRAG},
		{"creative", abi.TaskCreative},
		{"analysis", abi.TaskAnalysis},
		{"translation", abi.TaskTranslation},
		{"summarization", abi.TaskSummarization},
		{"reasoning", abi.TaskReasoning},
	}
}

// extension reads the gateway's own object, "pointsman". No provider sees it, so an unknown key in it is a mistake.
func (p *parser) extension() {
	if !p.opens('{') {
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "policy":
			p.policy()
		case "privacy":
			p.e.Privacy = p.choose(privacies())
		case "latency":
			p.e.Latency = p.choose(latencies())
		case "task":
			p.e.Task = p.choose(tasks())
		case "session":
			p.session()
		case "fallback":
			value, present := p.flag()
			p.e.NoFallback = present && !value
		case "key_fallback":
			value, present := p.flag()
			p.e.KeyFallback = present && value
		default:
			p.unknownIn("pointsman", []string{"policy", "privacy", "latency", "task", "session", "fallback", "key_fallback"})
		}
	}
}

func (p *parser) policy() {
	if !p.optionalText() {
		return
	}
	name := p.decoded()
	if !shortName(name) {
		p.refuse(404, CodePolicyNotFound, "pointsman.policy", "the policy %s does not exist: names are 1 to %d of a-z 0-9 _ -", quote(name), maxName)
		return
	}
	p.e.Policy = keep(name, p.old.policy)
}

// choose reads one of the words; null is absent.
func (p *parser) choose(from []choice) uint8 {
	off := p.i
	if p.optionalText() {
		word := p.decoded()
		for _, c := range from {
			if string(word) == c.word {
				return c.code
			}
		}
		words := make([]string, len(from))
		for i, c := range from {
			words[i] = c.word
		}
		p.invalid(off, "", fmt.Sprintf("must be one of %s", strings.Join(words, ", ")))
	}
	return 0
}

// session hashes the session's name with FNV-1a, so that the name itself goes no further.
func (p *parser) session() {
	off := p.i
	if !p.optionalText() {
		return
	}
	name := p.decoded()
	if len(name) == 0 || len(name) > maxSession {
		p.invalid(off, "", fmt.Sprintf("must be 1 to %d bytes", maxSession))
		return
	}
	p.e.Session = Session(name)
}

// Session is the number of the session of that name: FNV-1a, and never 0, which means none.
func Session(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return max(h, 1)
}

// nearest returns the name most like key by edit distance.
func nearest(key []byte, names []string) string {
	if len(key) > 64 {
		key = key[:64]
	}
	lower := string(bytes.ToLower(key))
	best, at := "", 1<<30
	for _, name := range names {
		if d := distance(lower, name); d < at {
			best, at = name, d
		}
	}
	return best
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
