package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	defaultDimensions = 256
	maxDimensions     = 4096
	maxWords          = 1000 // of a text that count; a real model has a limit too
)

type embeddingsRequest struct {
	Input          json.RawMessage `json:"input"` // a text, texts, tokens or lists of tokens
	Dimensions     int             `json:"dimensions"`
	EncodingFormat string          `json:"encoding_format"`
}

// embeddings answers with vectors of length one that depend on the words only: texts that share words are near each
// other, as they are with a real model.
func embeddings(req *provider.CallRequest, answer provider.AnswerWriter) error {
	var in embeddingsRequest
	if err := json.Unmarshal(req.Body, &in); err != nil {
		return badRequest("", "the request is not an embeddings request")
	}
	if in.Dimensions == 0 {
		in.Dimensions = defaultDimensions
	}
	if in.Dimensions < 1 || in.Dimensions > maxDimensions {
		return badRequest("dimensions", "dimensions must be from 1 to %d", maxDimensions)
	}
	texts, err := inputTexts(in.Input)
	if err != nil {
		return err
	}
	type item struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	data := make([]item, 0, len(texts))
	used := 0
	for i, text := range texts {
		used += tokens(text)
		vector := embed(text, in.Dimensions)
		entry := item{Object: "embedding", Index: i, Embedding: vector}
		if in.EncodingFormat == "base64" {
			raw := make([]byte, 0, 4*len(vector))
			for _, x := range vector {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			entry.Embedding = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, entry)
	}
	return sendJSON(answer, http.StatusOK, map[string]any{
		"object": "list", "model": req.Model, "data": data,
		"usage": map[string]int{"prompt_tokens": used, "total_tokens": used},
	})
}

func inputTexts(input json.RawMessage) ([]string, error) {
	var one string
	if json.Unmarshal(input, &one) == nil && one != "" {
		return []string{one}, nil
	}
	var many []string
	if json.Unmarshal(input, &many) == nil && len(many) > 0 {
		return many, nil
	}
	var list []int
	if json.Unmarshal(input, &list) == nil && len(list) > 0 {
		return []string{fmt.Sprint(list)}, nil
	}
	var lists [][]int
	if json.Unmarshal(input, &lists) == nil && len(lists) > 0 {
		texts := make([]string, 0, len(lists))
		for _, l := range lists {
			texts = append(texts, fmt.Sprint(l))
		}
		return texts, nil
	}
	return nil, badRequest("input", "input must be a text, a list of texts, or tokens")
}

// embed adds a direction for each word and scales the sum to length one.
func embed(text string, dimensions int) []float32 {
	sum := make([]float64, dimensions)
	words := strings.Fields(strings.ToLower(text))
	for _, word := range words[:min(len(words), maxWords)] {
		state := seed(strings.Trim(word, ".,;:!?\"'()[]"))
		for i := range sum {
			state = state*6364136223846793005 + 1442695040888963407
			sum[i] += float64(int32(state>>32)) / math.MaxInt32
		}
	}
	norm := 0.0
	for _, x := range sum {
		norm += x * x
	}
	if norm == 0 {
		sum[0], norm = 1, 1
	}
	vector := make([]float32, dimensions)
	for i, x := range sum {
		vector[i] = float32(x / math.Sqrt(norm))
	}
	return vector
}
