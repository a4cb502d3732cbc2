package dialect

import "strconv"

const (
	smallestBudget  = 1024 // of the API
	smallestTopP    = 0.95 // of the API while thinking
	largestSampling = 2    // temperature in OpenAI's dialect
)

// appendThinkingAndSampling writes thinking, output_config, temperature, top_p and top_k, which constrain each other.
func (r *request) appendThinkingAndSampling(dst, format []byte) ([]byte, error) {
	thinking, effort, err := r.thought()
	if err != nil {
		return nil, err
	}
	if thinking != "" {
		dst = append(append(dst, `,"thinking":`...), thinking...)
	}
	if effort != "" || format != nil {
		dst = append(dst, `,"output_config":{`...)
		if effort != "" {
			dst = append(append(append(dst, `"effort":"`...), effort...), '"')
		}
		if format != nil {
			if effort != "" {
				dst = append(dst, ',')
			}
			dst = append(append(dst, `"format":`...), format...)
		}
		dst = append(dst, '}')
	}
	return r.appendSampling(dst, thinking != "" && thinking != `{"type":"disabled"}`)
}

// thought returns the thinking object and the effort of output_config, "" for those that are not sent.
func (r *request) thought() (thinking, effort string, err error) {
	if len(r.thinking) > 0 {
		if r.thinking[0] != '{' {
			return "", "", requestErrorf("thinking", "must be an object")
		}
		if len(r.effort) > 0 {
			r.drop("reasoning_effort")
		}
		if kind := members(r.thinking, "type")[0]; string(inner(kind)) == "disabled" {
			return `{"type":"disabled"}`, "", nil
		}
		return string(r.thinking), "", nil
	}
	if len(r.effort) == 0 {
		return "", "", nil
	}
	var budget int64
	switch string(inner(r.effort)) {
	case "none":
		if r.opt.Thinking == ThinkingDefault {
			thinking = `{"type":"disabled"}`
		}
		return thinking, "", nil
	case "minimal":
		budget, effort = 1024, "low"
	case "low":
		budget, effort = 2048, "low"
	case "medium":
		budget, effort = 8192, "medium"
	case "high":
		budget, effort = 16384, "high"
	case "xhigh":
		budget, effort = 32768, "high"
	default:
		return "", "", requestErrorf("reasoning_effort", "must be none, minimal, low, medium, high or xhigh")
	}
	if r.opt.Thinking >= ThinkingEffort && string(inner(r.effort)) == "xhigh" {
		effort = "xhigh"
	}
	switch {
	case r.opt.Thinking == ThinkingBudget:
	case r.forced:
		return "", effort, nil
	case r.opt.Thinking == ThinkingAdaptive:
		return `{"type":"adaptive"}`, effort, nil
	default: // else the blocks come without their texts
		return `{"type":"adaptive","display":"summarized"}`, effort, nil
	}
	budget = min(budget, r.limit/2)
	if budget < smallestBudget || r.forced || r.noThought {
		r.drop("reasoning_effort")
		return "", "", nil
	}
	return `{"type":"enabled","budget_tokens":` + strconv.FormatInt(budget, 10) + `}`, "", nil
}

func (r *request) appendSampling(dst []byte, thinks bool) ([]byte, error) {
	fixed := r.opt.Thinking >= ThinkingEffort
	if len(r.temperature) > 0 {
		t, err := strconv.ParseFloat(string(r.temperature), 64)
		switch {
		case err != nil || t < 0 || t > largestSampling:
			return nil, requestErrorf("temperature", "must be a number between 0 and 2")
		case fixed && t == 1: // as it is anyway
		case fixed, thinks && t != 1:
			r.drop("temperature")
		case t > 1:
			r.drop("temperature")
			dst = append(dst, `,"temperature":1`...)
		default:
			dst = append(append(dst, `,"temperature":`...), r.temperature...)
		}
	}
	if len(r.topP) > 0 {
		p, err := strconv.ParseFloat(string(r.topP), 64)
		switch {
		case err != nil || p < 0 || p > 1:
			return nil, requestErrorf("top_p", "must be a number between 0 and 1")
		case p == 1: // all of it: nothing to say
		case fixed || len(r.temperature) > 0 || thinks && p < smallestTopP:
			r.drop("top_p")
		default:
			dst = append(append(dst, `,"top_p":`...), r.topP...)
		}
	}
	if len(r.topK) > 0 {
		k, err := strconv.ParseInt(string(r.topK), 10, 64)
		switch {
		case err != nil || k < 0:
			return nil, requestErrorf("top_k", "must be an integer, not negative")
		case fixed || thinks:
			r.drop("top_k")
		default:
			dst = append(append(dst, `,"top_k":`...), r.topK...)
		}
	}
	return dst, nil
}
