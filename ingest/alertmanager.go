package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Alertmanager is the webhook of Prometheus' Alertmanager: an alert that people have already becomes a metric of
// the model that it is about, with the alert's name, 1 while it fires and 0 once it is resolved. What follows from
// it is for a policy to say, with its guardrails.
var Alertmanager = Protocol{
	Name:   "alertmanager",
	Paths:  []string{"/api/v1/alertmanager"},
	Busy:   http.StatusServiceUnavailable, // Alertmanager gives up on 4xx
	Read:   readAlerts,
	Answer: answerParts,
}

// alertGroup is version 4 of the webhook's body, as far as it is used here.
type alertGroup struct {
	Version   string  `json:"version"`
	Truncated int     `json:"truncatedAlerts"`
	Alerts    []alert `json:"alerts"`
}

type alert struct {
	Status string            `json:"status"`
	Labels map[string]string `json:"labels"`
}

func readAlerts(s *Source, r Request) (*Batch, error) {
	if err := checkBraces(r.Body); err != nil {
		return nil, err
	}
	var g alertGroup
	if err := json.Unmarshal(r.Body, &g); err != nil {
		return nil, malformed(err)
	}
	if g.Version != "4" {
		return nil, fmt.Errorf("%w: version is %q; version 4 of Alertmanager's webhook is understood", ErrUnsupported, clip(g.Version))
	}
	b := s.begin(r.Now)
	b.Key = contentKey("alert", r.Body)
	if g.Truncated > 0 {
		b.ignoreN("truncated", g.Truncated) // by Alertmanager: max_alerts of its receiver
	}
	// Of several alerts of one name the last counts as the newest: one that fires does.
	for _, status := range [...]string{"resolved", "firing"} {
		for i := range g.Alerts {
			if g.Alerts[i].Status == status {
				s.addAlert(b, i, &g.Alerts[i])
			}
		}
	}
	for i := range g.Alerts {
		if st := g.Alerts[i].Status; st != "resolved" && st != "firing" {
			b.refuse(fmt.Sprintf("alerts[%d].status", i), "unknown", "is %q; firing and resolved are known", clip(st))
		}
	}
	return b, nil
}

func (s *Source) addAlert(b *Batch, i int, a *alert) {
	var attrs []attribute
	for name, v := range a.Labels {
		if name != "alertname" {
			attrs = append(attrs, attribute{name, v, true})
		}
	}
	slices.SortFunc(attrs, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	r := reading{field: func() string { return fmt.Sprintf("alerts[%d]", i) }, metric: a.Labels["alertname"]}
	if a.Status == "firing" {
		r.value = 1
	}
	s.add(b, s.identify(attrs), r)
}
