// Package server is VisuTility's face on the network: a REST API with an OpenAPI
// document, a stream of what happens, metrics and health, and, when it is given one, the
// web interface. Its handlers are thin: they read the request, ask the engine or the
// store, and write the answer.
//
// [New] makes one [Server], an http.Handler. A request passes through it from the outside in:
//
//	count          every answer, by route and code; a panic becomes a 500
//	headers        nosniff, no framing, a content security policy without inline code
//	hosts          only names this server goes by: a rebound DNS name is misdirected (421)
//	auth           the token, or 401; open are only the routes listed in openRoutes
//	cross-origin   no state-changing calls from other sites' pages (403)
//	mux            one table of routes for everything
//
// What is not listed as open needs the token, whatever the route: a route added
// tomorrow is closed until somebody opens it.
//
// Every error is an RFC 9457 problem, made in one place (problem.go). Lists are
// pages: {"items": […], "next": "…"}, where next is the cursor of the next page, "" at the end.
//
// What other systems send is read by the protocols of package ingest. They have a handler
// for all (protocols.go), but for MLflow's, which has many routes (mlflow.go), and what comes otherwise than by
// plain HTTP (grpc.go, nats.go).
//
// Most routes are described to huma, which checks parameters and bodies against
// the OpenAPI document that it makes of them. Streams and the intake of metrics
// are plain handlers on the same mux, with their part of the document written by hand.
package server
