package policy

import (
	"math"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"

	"github.com/visutility/visutility"
)

// The keys of a policy file, section by section.

func policyFields() []field[draft] {
	return []field[draft]{
		{"name", "Name of the policy. Defaults to the file's name without extension.", stringSchema, func(d *decoder, n *node, x *draft) {
			if s, ok := d.text(n); ok {
				x.p.Name = s
			}
		}},
		{"model", "Name of the model. Either this or models.", stringSchema, func(d *decoder, n *node, x *draft) { x.model = n }},
		{"models", "Globs of the models' names.", listSchema(stringSchema), func(d *decoder, n *node, x *draft) { x.models = n }},
		{"metrics", "What is known of the metrics. The canonical ones (accuracy, precision, recall, f1_score, drift_score) need not be declared.",
			schema{"type": "object", "additionalProperties": metricSchema()}, readMetrics},
		{"retrain", "When to retrain.", objectSchema(retrainFields()), func(d *decoder, n *node, x *draft) {
			object(d, n, "retrain", retrainFields(), x)
		}},
		{"train", "What to run: exactly one of run, webhook and trainer.", objectSchema(trainFields()), func(d *decoder, n *node, x *draft) {
			x.train = n
			object(d, n, "train", trainFields(), &x.p.Train)
		}},
		{"promote", "What the new version must achieve.", objectSchema(promoteFields()), func(d *decoder, n *node, x *draft) {
			object(d, n, "promote", promoteFields(), x)
		}},
		{"rollback", "When a promoted version is taken back.", objectSchema(rollbackFields()), func(d *decoder, n *node, x *draft) {
			x.p.Rollback = &Rollback{Within: defaultWithin}
			object(d, n, "rollback", rollbackFields(), x)
		}},
	}
}

// readCondition keeps the node of a condition until all metrics are known.
func readCondition(to func(*draft) **node) func(*decoder, *node, *draft) {
	return func(d *decoder, n *node, x *draft) {
		if _, ok := d.text(n); ok {
			*to(x) = n
		}
	}
}

// readDuration reads a duration of at least least.
func readDuration[T any](least time.Duration, to func(*T) *time.Duration) func(*decoder, *node, *T) {
	return func(d *decoder, n *node, x *T) {
		if v, ok := d.duration(n, least); ok {
			*to(x) = v
		}
	}
}

func readText[T any](to func(*T) *string) func(*decoder, *node, *T) {
	return func(d *decoder, n *node, x *T) {
		if s, ok := d.text(n); ok {
			*to(x) = s
		}
	}
}

func (x *draft) finishModels(d *decoder) {
	switch {
	case x.model == nil && x.models == nil:
		d.missing(x.root.at, "model", "model or models is missing: it says whom the policy is for")
	case x.model != nil && x.models != nil:
		d.fail(x.models.at, "model and models exclude each other")
	case x.model != nil:
		if s, ok := d.text(x.model); ok {
			x.p.Models, x.p.exact = []string{s}, true
			if len(s) > visutility.MaxNameBytes {
				d.fail(x.model.at, "a model's name has at most %d bytes", visutility.MaxNameBytes)
			}
		}
	default:
		x.p.Models = d.texts(x.models)
		for i, glob := range x.p.Models {
			if _, err := path.Match(glob, ""); err != nil && i < len(x.models.items) {
				d.fail(x.models.items[i].at, "%q is not a glob: a bracket or a backslash is not closed", glob)
			}
		}
	}
}

// reserved are names that mean something else in a condition.
var reserved = map[string]bool{"age": true, "baseline": true, "previous": true, "candidate": true, "champion": true}

func readMetrics(d *decoder, n *node, x *draft) {
	if n.kind != mapNode {
		d.fail(n.at, "metrics must be a map from names to goals, not %s", n.kind)
		return
	}
	for _, p := range n.pairs {
		m := Metric{Goal: canonical[p.key], Baseline: Baseline{Events: defaultBaselineEvents}}
		switch {
		case p.key == "" || len(p.key) > visutility.MaxNameBytes:
			d.fail(p.at, "a metric's name has 1 to %d bytes", visutility.MaxNameBytes)
		case reserved[p.key]:
			d.fail(p.at, "%q means something else in a condition and cannot name a metric", p.key)
		case p.value.kind == nullNode:
			d.fail(p.at, "%q has no value; write higher_is_better or lower_is_better", p.key)
		case p.value.kind == scalarNode:
			readGoal(d, p.value, &m)
		default:
			object(d, p.value, "a metric", metricFields(), &m)
		}
		x.p.Metrics[p.key] = m
	}
}

func readGoal(d *decoder, n *node, m *Metric) {
	m.Goal = Goal(d.oneOf(n, string(HigherIsBetter), string(LowerIsBetter)))
}

func metricFields() []field[Metric] {
	return []field[Metric]{
		{"goal", "Which way the metric is better.", goalSchema, readGoal},
		{"min_samples", "Samples without which an aggregate, or the latest value, has no value.", integerSchema(0), func(d *decoder, n *node, m *Metric) {
			m.MinSamples, _ = d.integer(n, 0, math.MaxInt64)
		}},
		{"baseline", "What baseline.x is: a number, or the mean of the first events of a champion. Defaults to {events: 10}.",
			schema{"oneOf": []any{numberSchema, objectSchema(baselineFields())}}, func(d *decoder, n *node, m *Metric) {
				if n.kind == mapNode {
					object(d, n, "a baseline", baselineFields(), &m.Baseline)
				} else if v, ok := d.number(n); ok {
					m.Baseline = Baseline{Constant: true, Value: v}
				}
			}},
		{"source", "Where the metric comes from when nobody sends it.", objectSchema(sourceFields()), func(d *decoder, n *node, m *Metric) {
			object(d, n, "a source", sourceFields(), m)
		}},
	}
}

func baselineFields() []field[Baseline] {
	return []field[Baseline]{
		{"events", "How many events at least. Defaults to 10.", integerSchema(1), func(d *decoder, n *node, b *Baseline) {
			if v, ok := d.integer(n, 1, 1_000_000); ok {
				b.Events = v
			}
		}},
	}
}

func retrainFields() []field[draft] {
	return []field[draft]{
		{"when", "Condition on which to retrain.", stringSchema, readCondition(func(x *draft) **node { return &x.when })},
		{"for", "How long the condition must hold. Defaults to 0.", durationSchema, readDuration(0, func(x *draft) *time.Duration { return &x.p.Retrain.For })},
		{"cooldown", "How long to wait after a run: one duration, or one after success (default 0) and one after failure (default 1m).",
			schema{"oneOf": []any{durationSchema, objectSchema(cooldownFields())}}, func(d *decoder, n *node, x *draft) {
				if n.kind == mapNode {
					object(d, n, "cooldown", cooldownFields(), &x.p.Retrain)
				} else if v, ok := d.duration(n, 0); ok {
					x.p.Retrain.AfterSuccess, x.p.Retrain.AfterFailure = v, v
				}
			}},
		{"budget", "How many runs are allowed in any period of a length. Defaults to no limit.", objectSchema(budgetFields()), func(d *decoder, n *node, x *draft) {
			b := &x.p.Retrain.Budget
			before := len(d.errs)
			object(d, n, "budget", budgetFields(), b)
			if len(d.errs) == before && (b.Runs == 0 || b.Per == 0) {
				d.fail(n.at, "a budget needs both runs and per")
			}
		}},
		{"unless", "Condition on which not to retrain all the same.", stringSchema, readCondition(func(x *draft) **node { return &x.unless })},
		{"strategy", "Name of a strategy that the program brought along; instead of when.", stringSchema, readText(func(x *draft) *string { return &x.p.Retrain.Strategy })},
	}
}

func cooldownFields() []field[Retrain] {
	return []field[Retrain]{
		{"after_success", "After a run that promoted a version. Defaults to 0.", durationSchema, readDuration(0, func(r *Retrain) *time.Duration { return &r.AfterSuccess })},
		{"after_failure", "After any other run. Defaults to 1m.", durationSchema, readDuration(0, func(r *Retrain) *time.Duration { return &r.AfterFailure })},
	}
}

// maxBudget bounds the runs of a budget: the starts of so many are remembered of a model.
const maxBudget = 1000

func budgetFields() []field[Budget] {
	return []field[Budget]{
		{"runs", "How many.", integerSchema(1), func(d *decoder, n *node, b *Budget) {
			if v, ok := d.integer(n, 1, maxBudget); ok {
				b.Runs = int(v)
			}
		}},
		{"per", "In how long.", durationSchema, readDuration(time.Second, func(b *Budget) *time.Duration { return &b.Per })},
	}
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func trainFields() []field[Train] {
	return []field[Train]{
		{"run", "Command, as a line (split into words as a shell would) or as a list of arguments.", schema{"oneOf": []any{stringSchema, listSchema(stringSchema)}}, func(d *decoder, n *node, t *Train) {
			if n.kind == listNode {
				t.Run = d.texts(n)
			} else if s, ok := d.text(n); ok {
				t.Run = []string{s} // split when it is known whether a shell does it
			}
		}},
		{"shell", "Hand the line to /bin/sh. Defaults to false.", booleanSchema, func(d *decoder, n *node, t *Train) { t.Shell = d.boolean(n) }},
		{"dir", "Working directory of the command. Defaults to that of the policy file.", stringSchema, readText(func(t *Train) *string { return &t.Dir })},
		{"env", "Names of environment variables that the command may see.", listSchema(stringSchema), func(d *decoder, n *node, t *Train) {
			t.Env = d.texts(n)
			for _, name := range t.Env {
				if !envForm.MatchString(name) {
					d.fail(n.at, "%q is not the name of an environment variable; values are not written here", name)
				}
			}
		}},
		{"webhook", "Training at the other end of an HTTP request.", objectSchema(webhookFields()), func(d *decoder, n *node, t *Train) {
			t.Webhook = &Webhook{Heartbeat: defaultHeartbeat}
			object(d, n, "webhook", webhookFields(), t.Webhook)
			if n.kind == mapNode && n.get("url") == nil {
				d.fail(n.at, "webhook.url is missing")
			}
			if t.Webhook.secretEnv != "" && t.Webhook.secretFile != "" {
				d.fail(n.at, "secret_env and secret_file exclude each other")
			}
		}},
		{"trainer", "Name of a trainer that the program brought along.", stringSchema, readText(func(t *Train) *string { return &t.Trainer })},
		{"timeout", "For one attempt. Defaults to 24h.", durationSchema, readDuration(time.Second, func(t *Train) *time.Duration { return &t.Timeout })},
		{"retries", "How often a failed attempt is repeated. Defaults to 0.", integerSchema(0), func(d *decoder, n *node, t *Train) {
			v, _ := d.integer(n, 0, 100)
			t.Retries = int(v)
		}},
		{"parameters", "Handed to the trainer as they are.", schema{"type": "object"}, func(d *decoder, n *node, t *Train) {
			if n.kind != mapNode {
				d.fail(n.at, "parameters must be a map, not %s", n.kind)
				return
			}
			t.Parameters = n.any().(map[string]any)
		}},
	}
}

func webhookFields() []field[Webhook] {
	return []field[Webhook]{
		{"url", "Where to send the job.", stringSchema, readURL(func(w *Webhook) *string { return &w.URL })},
		{"secret_env", "Environment variable that holds the key that signs the requests.", stringSchema, func(d *decoder, n *node, w *Webhook) {
			s, ok := d.text(n)
			if ok && !envForm.MatchString(s) {
				d.fail(n.at, "must be the name of an environment variable, not the secret itself")
			}
			w.secretEnv = s
		}},
		{"secret_file", "File that holds it, absolute or beside the policy file.", stringSchema, readText(func(w *Webhook) *string { return &w.secretFile })},
		{"heartbeat", "How often the other end must give a sign of life. Defaults to 10m.", durationSchema, readDuration(time.Second, func(w *Webhook) *time.Duration { return &w.Heartbeat })},
	}
}

// SplitCommand splits a command line into words as a shell would, and runs none. It reports false where
// there are no words, a quote is open, or the line has what only a shell understands.
func SplitCommand(line string) ([]string, bool) {
	parser := shellwords.NewParser()
	words, err := parser.Parse(line)
	return words, err == nil && parser.Position < 0 && len(words) > 0
}

// finishTrain checks that there is one way to train, and splits the command.
func (x *draft) finishTrain(d *decoder) {
	n, t := x.train, &x.p.Train
	if n == nil {
		if x.root.get("train") == nil {
			d.missing(x.root.at, "train", "train is missing: it says what to run")
		}
		return
	}
	if n.kind != mapNode {
		return // said already
	}
	var ways []string
	for _, key := range []string{"run", "webhook", "trainer"} {
		if n.get(key) != nil {
			ways = append(ways, key)
		}
	}
	if len(ways) == 0 {
		d.missing(n.at, "run", "train needs one of run, webhook and trainer")
	} else if len(ways) > 1 {
		d.fail(n.at, "train has %s; it takes one", strings.Join(ways, " and "))
	}
	if t.Webhook != nil {
		t.Webhook.dir = x.p.Dir
	}
	run := n.get("run")
	switch {
	case run == nil:
		if t.Shell {
			d.fail(n.get("shell").at, "shell goes with run")
		}
	case run.kind == listNode && t.Shell:
		d.fail(run.at, "with shell: true, run is one line, not a list")
	case run.kind == scalarNode && t.Shell:
		t.Run = []string{"/bin/sh", "-c", run.value}
	case run.kind == scalarNode:
		words, ok := SplitCommand(run.value)
		if !ok {
			d.fail(run.at, "cannot be split into words: it has an open quote, or something only a shell understands; add shell: true, or write a list")
		}
		t.Run = words
	}
}

func promoteFields() []field[draft] {
	return []field[draft]{
		{"when", "Condition over candidate.<metric> and champion.<metric>. Without it, whatever a successful run made is promoted.", stringSchema, readCondition(func(x *draft) **node { return &x.gate })},
		{"approval", "Whether a person must say yes. Defaults to auto.", schema{"enum": []any{"auto", "required"}}, func(d *decoder, n *node, x *draft) {
			x.p.Promote.Approval = d.oneOf(n, "auto", "required") == "required"
		}},
	}
}

func rollbackFields() []field[draft] {
	return []field[draft]{
		{"when", "Condition on which a promoted version is taken back.", stringSchema, readCondition(func(x *draft) **node { return &x.revert })},
		{"within", "How long a promoted version is watched. Defaults to 7d.", durationSchema, readDuration(time.Second, func(x *draft) *time.Duration { return &x.p.Rollback.Within })},
	}
}
