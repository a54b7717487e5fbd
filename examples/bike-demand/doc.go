// Package bikedemand closes the loop around a real model: a forecast of the bikes that a city rents by the hour, which
// goes wrong as the city takes to cycling.
//
// It is played in two ways. `visutility demo` is all of it in one process, server and comparison with schedules
// included. The program in cmd is the example to copy from: the two sides that a user has, apart from the server.
//
//	bike-demand train    is the training program that bike-demand.yaml names; the server starts it
//	bike-demand replay   plays the inference layer: two years, week by week, in under a minute
//	bike-demand past     writes what had been measured without any retraining, for a backtest
//	bike-demand score    says what another version would have scored then; the backtest starts it
//	bike-demand data     shows or writes the data that all work on
//
// One file each: data.go and generate.go have the hours, features.go and
// boost.go the learning, model.go the trained model, train.go and replay.go the
// two sides of the loop, past.go and compare.go what a backtest needs, policy.go the policy, client.go the little of the
// server's API that the replay needs, screen.go how it looks.
package bikedemand
