package visutilitytest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/visutilitytest"
)

func TestHandOverTakesTheBatchBack(t *testing.T) {
	entry := visutility.Entry{
		Position: 1,
		Series:   []visutility.Series{{Model: "churn", Metric: "auc"}},
		Records:  []visutility.Record{{Value: 0.5, Count: 1}},
	}
	var kept visutility.Entry
	var name, copied string
	keeper := visutility.ObserverFunc(func(_ context.Context, b visutility.Batch) error {
		kept, name, copied = b.Entries[0], b.Entries[0].Series[0].Model, strings.Clone(b.Entries[0].Series[0].Model)
		return nil
	})
	if err := visutilitytest.HandOver(t.Context(), keeper, visutility.Batch{Entries: []visutility.Entry{entry}}); err != nil {
		t.Fatal(err)
	}
	if kept.Records[0].Value == 0.5 || kept.Series[0].Metric == "auc" || name != "#####" {
		t.Errorf("the observer can still read what it kept: %+v, %q", kept, name)
	}
	if copied != "churn" || entry.Series[0].Model != "churn" || entry.Records[0].Value != 0.5 {
		t.Errorf("a copy (%q) or the original (%+v) was overwritten", copied, entry)
	}
}
