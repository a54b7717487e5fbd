package server

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility/dispatch"
	"github.com/visutility/visutility/policy"
)

// A Policy is a policy in force, or a file that was refused, or both: a policy whose newer file was refused.
type Policy struct {
	Name     string   `json:"name"`
	File     string   `json:"file"`
	Revision string   `json:"revision"`
	Models   []string `json:"models" nullable:"false" doc:"Globs of the names of the models it watches."`
	Source   string   `json:"source"`
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty" doc:"What is wrong with the file, with line and caret. The policy in force is then an older one."`
}

func (s *server) policyRoutes(api huma.API) {
	register(s, api, get("list-policies", "/policies", "List the policies in force, and what is wrong with files that were refused"), s.listPolicies)
	register(s, api, get("list-observers", "/observers", "List the observers of the log, and how they do"), s.listObservers)
	register(s, api, get("get-version-of-server", "/version", "Get the version of the server"), s.programVersion)
}

// remarks are warnings with their places, a line each.
func remarks(all policy.Errors) []string {
	var lines []string
	for _, w := range all {
		lines = append(lines, w.String())
	}
	return lines
}

func (s *server) listPolicies(context.Context, *struct{}) (*reply[pageOf[Policy]], error) {
	var items []Policy
	for _, p := range s.Engine.Policies() {
		items = append(items, Policy{
			Name: p.Name, File: p.File, Revision: p.Revision, Models: slices.Concat([]string{}, p.Models),
			Source: string(p.Source), Warnings: remarks(p.Warnings),
		})
	}
	for _, err := range s.Engine.PolicyErrors() {
		items = addPolicyError(items, err)
	}
	return page(items, ""), nil
}

// addPolicyError puts an error to the policy that it is about, or beside them.
func addPolicyError(items []Policy, err error) []Policy {
	file := ""
	if one, ok := errors.AsType[*policy.Error](err); ok {
		file = one.File
	}
	at := slices.IndexFunc(items, func(p Policy) bool { return file != "" && p.File == file })
	if at < 0 {
		base := filepath.Base(file)
		if file == "" {
			base = ""
		}
		items = append(items, Policy{Name: strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml"), File: file, Models: []string{}})
		at = len(items) - 1
	}
	p := &items[at]
	if p.Error != "" {
		p.Error += "\n"
	}
	p.Error += err.Error()
	return items
}

func (s *server) listObservers(context.Context, *struct{}) (*reply[pageOf[dispatch.Status]], error) {
	return page(s.Engine.Observers(), ""), nil
}
