package outcomes

// Report is what a policy's decisions about a set are worth. Costs are USD; accuracy is the mean score, 0 to 1. Intervals hold
// 95 % of bootstrap resamples of the prompts.
type Report struct {
	Policy    string     `json:"policy"`
	Outcomes  string     `json:"outcomes"` // the file
	Prompts   int        `json:"prompts"`
	LeftOut   []Missing  `json:"left_out,omitempty"` // prompts without an answer of every model
	Folds     int        `json:"folds"`
	Seed      uint64     `json:"seed"`
	Resamples int        `json:"resamples"`
	Models    []Single   `json:"models"`      // each, asked every time
	Cheapest  string     `json:"cheapest"`    // the model of the lowest cost
	Best      string     `json:"best_single"` // the model of the highest accuracy, the cheaper one of equals; chosen with hindsight
	Oracle    Single     `json:"oracle"`      // of each prompt the best answer, the cheapest of equals
	Settings  []Setting  `json:"settings"`    // the policy as configured, then each value of the sweep
	Tasks     []TaskPart `json:"tasks"`       // of the policy as configured
	FoldParts []FoldPart `json:"by_fold"`     // of the policy as configured
	Curve     *Curve     `json:"curve,omitempty"`
	Pair      *Pair      `json:"pair,omitempty"` // of a set of two models
}

// Interval is a figure with the range that it may lie in.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Single is what asking one model every time comes to, or the oracle.
type Single struct {
	Model       string   `json:"model,omitempty"`
	Accuracy    Interval `json:"accuracy"`
	CostPer1000 Interval `json:"cost_per_1000_usd"`
}

// Setting is what the policy comes to with one set of parameters.
type Setting struct {
	Value       string             `json:"setting"` // "as configured", or KEY=VALUE of the sweep
	Accuracy    Interval           `json:"accuracy"`
	Cost        float64            `json:"cost_usd"` // of all prompts
	CostPer1000 Interval           `json:"cost_per_1000_usd"`
	Random      Interval           `json:"random_mix_accuracy"` // at the same cost
	Gain        Interval           `json:"gain"`                // accuracy above that of the random mix
	Shares      map[string]float64 `json:"shares"`              // of the prompts, by the model whose answer counts
	Rejected    int                `json:"rejected,omitempty"`
	Failed      int                `json:"failed,omitempty"`
	Error       string             `json:"error,omitempty"`          // the first of a failed decision
	Reviewed    int                `json:"several_rounds,omitempty"` // prompts of more than one plan
	Asked       int                `json:"side_calls_unanswered,omitempty"`
}

// TaskPart is one task's part of the prompts.
type TaskPart struct {
	Task           string   `json:"task"`
	Prompts        int      `json:"prompts"`
	Accuracy       Interval `json:"accuracy"`
	CostPer1000    Interval `json:"cost_per_1000_usd"`
	Best           string   `json:"best_single"` // of this task, with hindsight
	BestAccuracy   float64  `json:"best_single_accuracy"`
	BestCost       float64  `json:"best_single_cost_per_1000_usd"`
	CheapAccuracy  float64  `json:"cheapest_accuracy"`
	OracleAccuracy float64  `json:"oracle_accuracy"`
}

// FoldPart is one fold's part of the prompts.
type FoldPart struct {
	Fold        int     `json:"fold"` // from 1
	Prompts     int     `json:"prompts"`
	Accuracy    float64 `json:"accuracy"`
	CostPer1000 float64 `json:"cost_per_1000_usd"`
	Random      float64 `json:"random_mix_accuracy"` // at the same cost, of this fold's answers
}

// Curve is accuracy at cost, from the cheapest model's cost to the best model's: the most that choosing by chance between two of
// the policy's settings, the cheapest and the best model reaches at a cost. RouterBench calls the line the non-decreasing convex
// hull and the mean height under it AIQ (Hu et al. 2024, arXiv 2403.12031).
type Curve struct {
	Points     []CurvePoint `json:"points"`
	Area       Interval     `json:"area"` // mean accuracy over the range of cost
	RandomArea Interval     `json:"random_mix_area"`
	Gain       Interval     `json:"gain"`                   // of the areas
	OracleArea float64      `json:"oracle_area"`            // with the oracle as a setting
	Lowest     float64      `json:"least_gain_of_settings"` // the lowest gain of a setting, not counting the ends
}

// CurvePoint is the accuracy at one cost.
type CurvePoint struct {
	CostPer1000 float64 `json:"cost_per_1000_usd"`
	Accuracy    float64 `json:"accuracy"`
	Random      float64 `json:"random_mix_accuracy"`
}

// Pair is what RouteLLM measures of a router between a weak and a strong model (Ong et al. 2024, arXiv 2406.18665),
// over the share of prompts that the strong one gets. The performance gap recovered is (accuracy-weak)/(strong-weak).
type Pair struct {
	Weak   string   `json:"weak"`
	Strong string   `json:"strong"`
	APGR   Interval `json:"apgr"`  // the mean of the gap recovered over all shares
	CPT50  Interval `json:"cpt50"` // the least share of strong calls that recovers half of the gap
	CPT80  Interval `json:"cpt80"` // four fifths
}
