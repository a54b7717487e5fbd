package trainer

import _ "embed"

// The JSON Schemas (2020-12) of what a training program reads and writes.
var (
	//go:embed schemas/job.json
	jobSchema []byte
	//go:embed schemas/result.json
	resultSchema []byte
)

// Schemas returns the published schemas by file name: job.json and result.json.
func Schemas() map[string][]byte {
	return map[string][]byte{"job.json": jobSchema, "result.json": resultSchema}
}
