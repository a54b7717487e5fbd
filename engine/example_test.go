package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/engine"
	"github.com/visutility/visutility/policy"
)

// A good metric fires nothing, a bad one retrains.
func Example() {
	dir, _ := os.MkdirTemp("", "visutility")
	defer os.RemoveAll(dir)
	rule, _ := policy.Parse("fraud.yaml", []byte(`
model: fraud
retrain: {when: accuracy < 0.8}
train: {trainer: mine}
`))
	trained := make(chan visutility.Job, 1)
	mine := visutility.TrainerFunc(func(_ context.Context, job visutility.Job) (visutility.Artifact, error) {
		trained <- job
		return visutility.Artifact{URI: "s3://models/fraud/2", Metrics: map[string]float64{"accuracy": 0.93}}, nil
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e, err := engine.Open(ctx, engine.Options{
		Dir: dir, Policies: []*policy.Policy{rule}, Logger: slog.New(slog.DiscardHandler),
		Trainers: map[string]visutility.Trainer{"mine": mine},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()

	_ = e.Publish(ctx, "", []visutility.Event{{Model: "fraud", Metric: visutility.Accuracy, Value: 0.95}})
	_ = e.Publish(ctx, "", []visutility.Event{{Model: "fraud", Metric: visutility.Accuracy, Value: 0.71}})
	job := <-trained
	fmt.Println("retraining", job.Model, "because", job.Decision.Reason)

	stop()
	fmt.Println(<-done, e.Close())
	// Output:
	// retraining fraud because the condition holds: accuracy < 0.8
	// <nil> <nil>
}

// An observer of one's own is a function under a name.
func ExampleEngine_Attach() {
	dir, _ := os.MkdirTemp("", "visutility")
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()

	seen := make(chan visutility.Event, 1)
	_ = e.Attach("printer", visutility.ObserverFunc(func(_ context.Context, b visutility.Batch) error {
		for _, event := range b.Events() {
			seen <- event
		}
		return nil
	}))
	_ = e.Publish(ctx, "", []visutility.Event{{Model: "fraud", Metric: visutility.Accuracy, Value: 0.95}})
	event := <-seen
	fmt.Println(event.Model, event.Metric, event.Value)

	stop()
	fmt.Println(<-done, e.Close())
	// Output:
	// fraud accuracy 0.95
	// <nil> <nil>
}
