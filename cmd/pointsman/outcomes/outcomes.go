// Package outcomes scores routing policies on recorded answers, and fits the difficulty policy to them.
//
// An outcome is what one model answered to one prompt: how good it was, its tokens, its cost. A [Set] has the answers of the
// same models to every prompt, so that whatever a policy decides, what would have come of it is known: no model is asked.
//
// # Way
//
//	Read       lines of JSON, strictly, into a Set
//	Folds      every prompt into one of k parts, each task spread evenly
//	World      the candidates of a fold: what is known of models comes from the other folds
//	Play       a policy's decision about one prompt, and the recorded answer that follows from it
//	Score      accuracy and cost beside cheapest, best single model, random mix and oracle; curves; intervals
//	Fit        a difficulty.Model of a set
//
// # What a policy is told
//
// A candidate is a model of the set. Its quality is its mean score in the other folds, its price what it cost there for a
// token; no figure of the prompt that is scored is in them. Where the built-in catalog knows the name, tier, capabilities,
// strengths and context come from there; otherwise the tier follows from the rank of its price. The request is what the
// gateway would make of the prompt as the only message of a chat completion. There is no live state: every candidate is
// healthy, nothing is known of latency, no key is the account's own.
//
// Everything is deterministic: the same set, policy and seed give the same report.
package outcomes

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// ErrOutcomes: outcomes cannot be used; the text says which and why.
var ErrOutcomes = errors.New("outcomes")

// Set is prompts with the answers of the same models to each.
type Set struct {
	Models  []string // sorted
	Tasks   []string // sorted
	Prompts []Prompt
	LeftOut []Missing // prompts that were taken out, because a model's answer is missing
}

// Prompt is one prompt with its answers.
type Prompt struct {
	ID      string
	Task    string
	Text    string
	Answers []Answer // one for each of Set.Models
}

// Answer is what came of asking one model.
type Answer struct {
	Score         float64 // 0 to 1
	Input, Output int64   // tokens
	Cost          float64 // USD
}

// Missing is how many prompts were left out for want of a model's answer. A prompt can lack several.
type Missing struct {
	Model   string `json:"model"`
	Prompts int    `json:"prompts"`
}

// answered are prompts as they are read: a model may lack.
type answered struct {
	Prompt
	by map[string]Answer
}

// complete keeps the prompts that every model has answered: a score over other prompts for each model would compare prompts
// instead of models.
func complete(all []*answered) (*Set, error) {
	s := &Set{}
	models, tasks, missing := map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, p := range all {
		for model := range p.by {
			models[model] = true
		}
	}
	s.Models = sortedKeys(models)
	for _, p := range all {
		whole := true
		for _, model := range s.Models {
			if a, ok := p.by[model]; ok {
				p.Answers = append(p.Answers, a)
			} else {
				missing[model]++
				whole = false
			}
		}
		if whole {
			tasks[p.Task] = true
			s.Prompts = append(s.Prompts, p.Prompt)
		}
	}
	s.Tasks = sortedKeys(tasks)
	for _, model := range sortedKeys(missing) {
		s.LeftOut = append(s.LeftOut, Missing{model, missing[model]})
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%w: there is no line", ErrOutcomes)
	case len(s.Models) < 2:
		return nil, fmt.Errorf("%w: all answers are by %s; to choose takes two models", ErrOutcomes, s.Models[0])
	case len(s.Prompts) == 0:
		var lacks []string
		for _, m := range s.LeftOut {
			lacks = append(lacks, fmt.Sprintf("%s lacks %d", m.Model, m.Prompts))
		}
		return nil, fmt.Errorf("%w: no prompt of %d has an answer of every model: %s", ErrOutcomes, len(all), strings.Join(lacks, ", "))
	}
	return s, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// mix is a number that looks random and follows from a seed and a text.
func mix(seed uint64, text string) uint64 {
	h := fnv.New64a()
	for i := range 8 {
		h.Write([]byte{byte(seed >> (8 * i))}) //nolint:errcheck // a hash takes everything
	}
	h.Write([]byte(text)) //nolint:errcheck // as above
	x := h.Sum64()        // FNV leaves the high bits of short texts alike: the finaliser of MurmurHash3 spreads them
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Folds puts every prompt into one of k folds, 2 or more: those of each task in an order that follows from the seed and their
// ids, in turn. The order of lines does not matter.
func (s *Set) Folds(k int, seed uint64) ([]int, error) {
	if k < 2 || k > len(s.Prompts) {
		return nil, fmt.Errorf("%w: %d folds of %d prompts: there must be 2 folds at least, and a prompt for each", ErrOutcomes, k, len(s.Prompts))
	}
	folds := make([]int, len(s.Prompts))
	next := 0
	for _, i := range s.shuffled(seed) {
		folds[i] = next % k
		next++
	}
	return folds, nil
}

// shuffled are the numbers of the prompts, by task, and within a task in an order that follows from the seed.
func (s *Set) shuffled(seed uint64) []int {
	order := make([]int, len(s.Prompts))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		p, q := &s.Prompts[a], &s.Prompts[b]
		if c := strings.Compare(p.Task, q.Task); c != 0 {
			return c
		}
		if x, y := mix(seed, p.ID), mix(seed, q.ID); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return strings.Compare(p.ID, q.ID)
	})
	return order
}

// Split takes a share of the prompts, above 0 and below 1, of each task alike, and gives the rest.
func (s *Set) Split(share float64, seed uint64) (taken, rest *Set, err error) {
	if !(share > 0 && share < 1) {
		return nil, nil, fmt.Errorf("%w: the share must be above 0 and below 1", ErrOutcomes)
	}
	within := make([]bool, len(s.Prompts))
	for n, i := range s.shuffled(seed) {
		within[i] = int(float64(n+1)*share) > int(float64(n)*share)
	}
	taken, rest = s.Only(func(i int) bool { return within[i] }), s.Only(func(i int) bool { return !within[i] })
	if len(taken.Prompts) == 0 || len(rest.Prompts) == 0 {
		return nil, nil, fmt.Errorf("%w: %d prompts are too few for that share", ErrOutcomes, len(s.Prompts))
	}
	return taken, rest, nil
}

// Only is the set of the prompts that keep says.
func (s *Set) Only(keep func(i int) bool) *Set {
	part := &Set{Models: s.Models}
	tasks := map[string]bool{}
	for i, p := range s.Prompts {
		if keep(i) {
			part.Prompts = append(part.Prompts, p)
			tasks[p.Task] = true
		}
	}
	part.Tasks = sortedKeys(tasks)
	return part
}
