// Package difficulty says how hard a text is and how likely each model is to answer it well. The policy in
// examples/policies/difficulty decides with it and `pointsman policy train difficulty` fits it, so that what is trained is what
// decides.
//
// A text becomes features: the hashes of its words and of each two neighbours, how long it is, and the kind of task. The
// difficulty z is their weighted sum; a model m answers well with probability 1/(1+exp(slope_m*z-bias_m)): the two-parameter
// logistic model of item response theory, in which a text is the item and a model the person. With what a good answer is worth in
// dollars, the best model is the one whose probability times that worth exceeds its cost by most. As the worth rises from
// nothing, the choice goes from the cheapest model to the likeliest, and each choice on the way has the most accuracy for its
// cost that these probabilities know of.
//
// A weight is a byte, so that the table of 16 KiB stays in the processor's nearest cache and its text below abi.MaxConfig.
package difficulty

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// ErrParams: the parameters are no model; the text says which and why.
var ErrParams = errors.New("difficulty")

// Head is what is known of one model: its probability of answering well falls with the difficulty.
type Head struct {
	Name   string  // of the model
	Bias   float64 // log-odds at difficulty 0
	Slope  float64 // how much of the log-odds a unit of difficulty takes, at least 0
	Output float64 // tokens of a usual answer
}

// Model is the weights of features and the heads of models. It is safe for concurrent use as long as nobody changes it.
type Model struct {
	Weights [Slots]int8
	Scale   float64 // what 1 in Weights stands for
	Worth   float64 // USD of a good answer
	Heads   []Head
}

// Defaults, where nothing is known.
const (
	DefaultWorth  = 0.05 // USD
	DefaultOutput = 400  // tokens
)

// Parse reads the parameters weights (base64 of one signed byte a slot), scale, worth, and models, a list of "NAME BIAS SLOPE
// OUTPUT". Without weights it knows a handful of English words. The error wraps [ErrParams] or one of the policy package.
func (m *Model) Parse(cfg policy.Config) error {
	*m = Model{}
	var err error
	if m.Worth, err = cfg.Number("worth", DefaultWorth); err != nil {
		return err
	}
	if m.Scale, err = cfg.Number("scale", 1); err != nil {
		return err
	}
	if !(m.Worth >= 0) || math.IsInf(m.Worth, 0) || !(m.Scale > 0) || math.IsInf(m.Scale, 0) {
		return fmt.Errorf("%w: worth must be a number that is not below 0, scale one above 0", ErrParams)
	}
	if text := cfg.Text("weights", ""); text != "" {
		table, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil || len(table) != Slots {
			return fmt.Errorf("%w: weights must be %d bytes in base64 without padding", ErrParams, Slots)
		}
		for i, b := range table {
			m.Weights[i] = int8(b)
		}
	} else {
		m.untrained()
	}
	for _, text := range cfg.List("models") {
		h, err := parseHead(text)
		if err != nil {
			return err
		}
		m.Heads = append(m.Heads, h)
	}
	return nil
}

func parseHead(text string) (h Head, err error) {
	fields := strings.Fields(text)
	if len(fields) != 4 {
		return h, fmt.Errorf("%w: models: %q is not NAME BIAS SLOPE OUTPUT", ErrParams, text)
	}
	h.Name = fields[0]
	for i, into := range []*float64{&h.Bias, &h.Slope, &h.Output} {
		if *into, err = strconv.ParseFloat(fields[1+i], 64); err != nil || !(math.Abs(*into) <= 1e9) || i > 0 && *into < 0 {
			return h, fmt.Errorf("%w: models: %q: bias must be a number, slope and output numbers that are not below 0", ErrParams, text)
		}
	}
	return h, nil
}

// Params are the parameters that [Model.Parse] reads, lists joined with commas.
func (m *Model) Params() map[string]string {
	table := make([]byte, Slots)
	for i, w := range m.Weights {
		table[i] = byte(w)
	}
	heads := make([]string, len(m.Heads))
	for i, h := range m.Heads {
		heads[i] = h.String()
	}
	return map[string]string{
		"weights": base64.RawStdEncoding.EncodeToString(table), "scale": number(m.Scale), "worth": number(m.Worth), "models": strings.Join(heads, ","),
	}
}

// String is the head as an element of the parameter models.
func (h Head) String() string {
	return h.Name + " " + number(h.Bias) + " " + number(h.Slope) + " " + number(h.Output)
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

// untrained knows a few English words.
func (m *Model) untrained() {
	m.Scale = 0.05
	m.Weights[slotLength] = 8
	m.Weights[TaskSlot(abi.TaskCode)], m.Weights[TaskSlot(abi.TaskReasoning)] = 16, 16
	for _, word := range []string{"prove", "theorem", "derive", "optimize", "refactor", "concurrency", "complexity", "integral"} {
		m.Weights[WordSlot(word)] = 80
	}
	for _, word := range []string{"hello", "hi", "thanks", "translate", "spell", "rephrase"} {
		m.Weights[WordSlot(word)] = -80
	}
}

// Rate is the difficulty of a text for a request of an abi.Task* kind. It reads a bounded part of the text, see [MaxRead],
// and does not allocate.
func (m *Model) Rate(text []byte, task uint8, r *Reader) float64 {
	words := r.words(text)
	sum := int32(0)
	for i := 0; i+1 < len(words); i += 2 {
		sum += int32(m.Weights[words[i]%Words]) + int32(m.Weights[words[i+1]%Words])
	}
	z := float64(float64(m.Weights[slotLength]) * length(text))
	z += float64(m.Weights[TaskSlot(task)])
	z += float64(float64(sum) * share(len(words)))
	return z * m.Scale
}

// head finds what is known of a model. Of one that is not among the heads only the quality is known, which counts as its
// probability at difficulty 0.
func (m *Model) head(name string, quality float64) Head {
	for _, h := range m.Heads {
		if h.Name == name {
			return h
		}
	}
	q := min(max(quality, 0.01), 0.99)
	return Head{Name: name, Bias: math.Log(q / (1 - q)), Slope: 1, Output: DefaultOutput}
}

// LogOdds are those of the model's answering well at difficulty z.
func (h *Head) LogOdds(z float64) float64 { return h.Bias - float64(h.Slope*z) }

// Chance is the probability that log-odds stand for, exactly.
func Chance(odds float64) float64 { return 1 / (1 + math.Exp(-odds)) }

// Offer is a candidate as this package sees it.
type Offer struct {
	Head
	Input  float64 // USD for a token of the prompt
	Answer float64 // USD for a usual answer
}

// Offer finds what is known of a candidate.
func (m *Model) Offer(c *policy.Candidate) Offer {
	o := Offer{Head: m.head(c.ModelName, float64(c.Quality)), Input: float64(c.PriceIn) / 1e12}
	o.Answer = o.Output * float64(c.PriceOut) / 1e12
	return o
}

// Gain is by how many dollars what is expected of the candidate exceeds its cost, for a prompt of some tokens at difficulty z.
func (o *Offer) Gain(r *Reader, worth, z, tokens float64) float64 {
	return float64(worth*r.Chance(o.LogOdds(z))) - float64(o.Input*tokens) - o.Answer
}
