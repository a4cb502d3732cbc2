// Package difficulty says how hard a text is and how likely each model is to answer it well. The policy in
// examples/policies/difficulty decides with it and `pointsman policy train difficulty` fits it, so that what is trained is what
// decides.
//
// A text becomes features: the hashes of its words and of each two neighbours, how long it is, and the kind of task. The
// difficulty z is their weighted sum; a model m answers well with probability 1/(1+exp(slope_m*z-bias_m)): the two-parameter
// logistic model of item response theory, in which a text is the item and a model the person. The rule that follows from it:
// of the models that fall short of the best one's probability by no more than the tolerance, take the cheapest.
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

// Head is what makes one model of a model's name: its probability of answering well falls with the difficulty.
type Head struct {
	Name  string  // of the model
	Bias  float64 // log-odds at difficulty 0
	Slope float64 // how much of the log-odds a unit of difficulty takes, at least 0
}

// Model is the weights of features and the heads of models. It is safe for concurrent use as long as nobody changes it.
type Model struct {
	Weights   [Slots]int8
	Scale     float64 // what 1 in Weights stands for
	Tolerance float64 // how much probability may be given up for a lower price
	Heads     []Head
}

// DefaultTolerance is used where the parameters name none.
const DefaultTolerance = 0.05

// Parse reads the parameters weights (base64 of one signed byte a slot), scale, tolerance, and models, a list of "NAME BIAS
// SLOPE". Without weights it knows a handful of English words. The error wraps [ErrParams] or one of the policy package.
func (m *Model) Parse(cfg policy.Config) error {
	*m = Model{}
	var err error
	if m.Tolerance, err = cfg.Number("tolerance", DefaultTolerance); err != nil {
		return err
	}
	if m.Scale, err = cfg.Number("scale", 1); err != nil {
		return err
	}
	if !(m.Tolerance >= 0 && m.Tolerance <= 1) || !(m.Scale > 0) || math.IsInf(m.Scale, 0) {
		return fmt.Errorf("%w: tolerance must be between 0 and 1, scale above 0", ErrParams)
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
		fields := strings.Fields(text)
		if len(fields) != 3 {
			return fmt.Errorf("%w: models: %q is not NAME BIAS SLOPE", ErrParams, text)
		}
		h := Head{Name: fields[0]}
		var err2 error
		h.Bias, err = strconv.ParseFloat(fields[1], 64)
		h.Slope, err2 = strconv.ParseFloat(fields[2], 64)
		if err != nil || err2 != nil || !(math.Abs(h.Bias) <= 1e6) || !(h.Slope >= 0 && h.Slope <= 1e6) {
			return fmt.Errorf("%w: models: %q: bias must be a number, slope one that is not below 0", ErrParams, text)
		}
		m.Heads = append(m.Heads, h)
	}
	return nil
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
		"weights": base64.RawStdEncoding.EncodeToString(table), "scale": number(m.Scale), "tolerance": number(m.Tolerance), "models": strings.Join(heads, ","),
	}
}

// String is the head as an element of the parameter models.
func (h Head) String() string { return h.Name + " " + number(h.Bias) + " " + number(h.Slope) }

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

// Head finds what is known of a model. Of one that is not among the heads only the quality is known, which counts as its
// probability at difficulty 0.
func (m *Model) Head(name string, quality float64) Head {
	for _, h := range m.Heads {
		if h.Name == name {
			return h
		}
	}
	q := min(max(quality, 0.01), 0.99)
	return Head{Name: name, Bias: math.Log(q / (1 - q)), Slope: 1}
}

// LogOdds are those of the model's answering well at difficulty z.
func (h *Head) LogOdds(z float64) float64 { return h.Bias - float64(h.Slope*z) }

// Bar is the least log-odds that are good enough where the best model's are these.
func (m *Model) Bar(best float64) float64 {
	least := Chance(best) - m.Tolerance
	if least <= 0 {
		return math.Inf(-1)
	}
	return min(best, math.Log(least/(1-least)))
}

// Chance is the probability that log-odds stand for.
func Chance(odds float64) float64 { return 1 / (1 + math.Exp(-odds)) }
