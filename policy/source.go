package policy

import (
	"net/url"
	"time"
)

// A Query is where a metric comes from when nobody sends it: the answer to a PromQL query, asked for at intervals.
type Query struct {
	// URL is the base URL of the Prometheus that is asked. Defaults to the server's own setting.
	URL string
	// PromQL is the query. Its answer is a number, or a vector: then labels name the models, unless the policy is for one.
	PromQL string
	// Every is the interval, at least a second. Defaults to one minute.
	Every time.Duration
	// TokenEnv is the environment variable that holds the bearer token. Defaults to none.
	TokenEnv string
}

func sourceFields() []field[Metric] {
	return []field[Metric]{
		{"prometheus", "A PromQL query that is asked at intervals.", objectSchema(queryFields()), func(d *decoder, n *node, m *Metric) {
			m.Source = &Query{Every: time.Minute}
			object(d, n, "prometheus", queryFields(), m.Source)
			if n.kind == mapNode && n.get("query") == nil {
				d.missing(n.at, "query", "prometheus.query is missing: it says what to ask for")
			}
		}},
	}
}

func queryFields() []field[Query] {
	return []field[Query]{
		{"query", "The PromQL query: a number, or a vector whose labels name the models.", stringSchema, readText(func(q *Query) *string { return &q.PromQL })},
		{"every", "How often to ask. Defaults to 1m.", durationSchema, readDuration(time.Second, func(q *Query) *time.Duration { return &q.Every })},
		{"url", "Base URL of the Prometheus to ask. Defaults to that of serve --prometheus.", stringSchema, readURL(func(q *Query) *string { return &q.URL })},
		{"token_env", "Environment variable that holds the bearer token.", stringSchema, readText(func(q *Query) *string { return &q.TokenEnv })},
	}
}

// readURL reads a web address without credentials.
func readURL[T any](to func(*T) *string) func(*decoder, *node, *T) {
	return func(d *decoder, n *node, x *T) {
		s, ok := d.text(n)
		if u, err := url.Parse(s); ok && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil) {
			d.fail(n.at, "must be a URL that begins with https:// or http://, with no password in it")
		}
		*to(x) = s
	}
}
