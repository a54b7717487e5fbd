package server

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/visutility/visutility"
)

func (s *server) versionRoutes(api huma.API) {
	register(s, api, get("list-versions", "/models/{model}/versions", "List the versions of a model, newest first"), s.listVersions)
	register(s, api, get("get-version", "/models/{model}/versions/{ref}", "Get a version by id or alias"), s.version)
	register(s, api, get("list-promotions", "/models/{model}/promotions", "List how the champion changed, newest first"), s.listPromotions)
	register(s, api, post("promote-version", "/models/{model}/promote", "Make a version the champion by hand"), s.promote)
	register(s, api, post("rollback-model", "/models/{model}/rollback", "Make the version before the champion the champion again"), s.rollback)
}

// listVersions pages through a registry, which may be another system's: its only order is newest first,
// so the cursor is the last id seen.
func (s *server) listVersions(ctx context.Context, in *struct {
	ModelPath
	Paging
}) (*reply[pageOf[visutility.Version]], error) {
	var versions []visutility.Version
	seen := in.Cursor == ""
	for v, err := range s.Engine.Registry().Versions(ctx, in.Model) {
		if err != nil {
			return nil, err
		}
		switch {
		case !seen:
			seen = v.ID == in.Cursor
		case len(versions) == in.Limit:
			return page(versions, versions[len(versions)-1].ID), nil
		default:
			versions = append(versions, v)
		}
	}
	if !seen {
		return nil, visutility.Invalidf("query.cursor", "syntax", "is not one that this list returned; start again without it")
	}
	return page(versions, ""), nil
}

func (s *server) version(ctx context.Context, in *struct {
	ModelPath
	Ref string `path:"ref" doc:"The id of a version, or an alias such as champion."`
}) (*reply[visutility.Version], error) {
	v, err := s.Engine.Registry().Resolve(ctx, in.Model, in.Ref)
	return &reply[visutility.Version]{v}, err
}

// PromoteRequest names the version to promote.
type PromoteRequest struct {
	Version string `json:"version" minLength:"1" maxLength:"256" doc:"Its id, or an alias."`
	Asker
}

func (s *server) promote(ctx context.Context, in *struct {
	ModelPath
	Body PromoteRequest
}) (*reply[visutility.Version], error) {
	if strings.TrimSpace(in.Body.Version) == "" {
		return nil, visutility.Invalidf("body.version", "empty", "is empty")
	}
	v, err := act(ctx, s, func(ctx context.Context) (visutility.Version, error) {
		return s.Engine.Promote(ctx, in.Model, in.Body.Version, who(in.Body.By))
	})
	return &reply[visutility.Version]{v}, err
}

func (s *server) rollback(ctx context.Context, in *struct {
	ModelPath
	Body *Asker `required:"false"`
}) (*reply[visutility.Version], error) {
	v, err := act(ctx, s, func(ctx context.Context) (visutility.Version, error) {
		return s.Engine.Rollback(ctx, in.Model, in.Body.who())
	})
	return &reply[visutility.Version]{v}, err
}

// who is the name to record, also for no body.
func (a *Asker) who() string {
	if a == nil {
		return who("")
	}
	return who(a.By)
}
