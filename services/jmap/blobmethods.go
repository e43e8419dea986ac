package jmap

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 9404 names it
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"waypost/internal/fault"
	"waypost/store"
)

const (
	maxBlobSet     = 4 << 20 // bytes of a blob that is made or read within a request (RFC 9404 section 3.1)
	maxDataSources = 64
)

// copyBlobs answers Blob/copy (RFC 8620 section 6.3).
func copyBlobs(ctx context.Context, c *call) error {
	from, ok := c.args["fromAccountId"].(string)
	if !ok {
		return invalidArguments("fromAccountId is an id")
	}
	box, ok := c.mailbox(from)
	if !ok {
		return methodFault("fromAccountNotFound", "")
	}
	ids, err := c.idsOrNull("blobIds")
	if err != nil || ids == nil {
		return invalidArguments("blobIds is a list of ids")
	}
	if len(ids) > maxObjectsInSet {
		return methodFault("requestTooLarge", "more than %d blobs", maxObjectsInSet)
	}
	copied, failed := object{}, object{}
	for _, id := range distinct(ids) {
		b, err := c.blob(ctx, box, id)
		var u store.Upload
		if err == nil {
			var r io.Reader
			if r, err = b.reader(0); err == nil {
				u, err = c.keep(ctx, c.box, "", r)
			}
		}
		if err != nil {
			failed[id] = c.setProblem(ctx, err)
			continue
		}
		copied[id] = blobID{upload: u.ID}.String()
	}
	out := object{"fromAccountId": from, "accountId": c.account, "copied": nil, "notCopied": nil}
	if len(copied) > 0 {
		out["copied"] = copied
	}
	if len(failed) > 0 {
		out["notCopied"] = failed
	}
	return c.respond(c.name, out)
}

// digests are the ways to sum a blob up.
var digests = map[string]func() hash.Hash{"digest:sha": sha1.New, "digest:sha-256": sha256.New}

// getBlobs answers Blob/get (RFC 9404 section 4.2).
func getBlobs(ctx context.Context, c *call) error {
	ids, err := c.idsOrNull("ids")
	if err != nil || ids == nil {
		return invalidArguments("ids is a list of ids")
	}
	if len(ids) > maxObjectsInGet {
		return methodFault("requestTooLarge", "more than %d blobs", maxObjectsInGet)
	}
	properties, err := c.stringsOrNull("properties")
	if err != nil {
		return err
	}
	if properties == nil {
		properties = []string{"data", "size"}
	}
	for _, p := range properties {
		if digests[p] == nil && !slices.Contains([]string{"id", "data", "data:asText", "data:asBase64", "size"}, p) {
			return invalidArguments("a blob has no property %q", p)
		}
	}
	offset, _, err := c.number("offset")
	if err != nil || offset < 0 {
		return invalidArguments("offset is a number from 0 on")
	}
	length, limited, err := c.number("length")
	if err != nil || length < 0 {
		return invalidArguments("length is a number from 0 on")
	}
	list, missing := []any{}, []string{}
	for _, id := range distinct(ids) {
		b, err := c.blob(ctx, c.box, id)
		if err != nil && fault.Of(err) == fault.NotFound {
			missing = append(missing, id)
			continue
		}
		if err != nil {
			return err
		}
		n := max(0, b.size-int64(offset))
		if limited {
			n = min(n, int64(length))
		}
		o, err := blobData(b, properties, min(int64(offset), b.size), n)
		if err != nil {
			return err
		}
		o["id"], o["isTruncated"] = id, int64(offset) > b.size || limited && int64(offset)+int64(length) > b.size
		list = append(list, o)
	}
	return c.respond(c.name, object{"accountId": c.account, "list": list, "notFound": missing})
}

// blobData gives properties of the octets from offset on.
func blobData(b *blob, properties []string, offset, n int64) (object, error) {
	o := object{}
	var data []byte
	for _, p := range properties {
		if p == "size" {
			o["size"] = b.size
			continue
		}
		r, err := b.reader(offset)
		if err != nil {
			return nil, err
		}
		r = io.LimitReader(r, n)
		if sum := digests[p]; sum != nil {
			h := sum()
			if _, err := io.Copy(h, r); err != nil {
				return nil, err
			}
			o[p] = base64.StdEncoding.EncodeToString(h.Sum(nil))
			continue
		}
		if p == "id" {
			continue
		}
		if n > maxBlobSet {
			return nil, methodFault("requestTooLarge", "more than %d bytes of a blob", maxBlobSet)
		}
		if data == nil {
			if data, err = io.ReadAll(r); err != nil {
				return nil, err
			}
		}
		isText := utf8.Valid(data)
		switch {
		case p == "data:asBase64" || p == "data" && !isText:
			o["data:asBase64"] = base64.StdEncoding.EncodeToString(data)
			if p == "data" {
				o["isEncodingProblem"] = true
			}
		case isText:
			o["data:asText"] = string(data)
		default:
			o["data:asText"], o["isEncodingProblem"] = nil, true
		}
	}
	return o, nil
}

// lookupBlobs answers Blob/lookup (section 4.3): a blob of ours names the message that it is of.
func lookupBlobs(ctx context.Context, c *call) error {
	types, err := c.stringsOrNull("typeNames")
	if err != nil || types == nil {
		return invalidArguments("typeNames is a list of types")
	}
	for _, t := range types {
		if t != "Email" {
			return methodFault("unknownDataType", "blobs of %q are not known", t)
		}
	}
	ids, err := c.idsOrNull("ids")
	if err != nil || ids == nil {
		return invalidArguments("ids is a list of ids")
	}
	if len(ids) > maxObjectsInGet {
		return methodFault("requestTooLarge", "more than %d blobs", maxObjectsInGet)
	}
	list, missing := []any{}, []string{}
	for _, id := range distinct(ids) {
		b, err := c.blob(ctx, c.box, id)
		if err != nil && fault.Of(err) == fault.NotFound {
			missing = append(missing, id)
			continue
		}
		if err != nil {
			return err
		}
		matched := object{}
		if len(types) > 0 {
			matched["Email"] = []string{}
			if b.id.item != 0 {
				matched["Email"] = []string{b.id.item.String()}
			}
		}
		list = append(list, object{"id": id, "matchedIds": matched})
	}
	return c.respond(c.name, object{"accountId": c.account, "list": list, "notFound": missing})
}

// uploadBlobs answers Blob/upload (section 4.1).
func uploadBlobs(ctx context.Context, c *call) error {
	create, err := c.mapOrNull("create")
	if err != nil || create == nil {
		return invalidArguments("create is a map of blobs to make")
	}
	if len(create) > maxObjectsInSet {
		return methodFault("requestTooLarge", "more than %d blobs", maxObjectsInSet)
	}
	created, failed := object{}, object{}
	for _, key := range slices.Sorted(maps.Keys(create)) {
		o, _ := create[key].(object)
		given, err := c.uploadBlob(ctx, o)
		if err == nil && !isID(key) {
			err = invalidProperties("that is no creation id")
		}
		if err != nil {
			failed[key] = c.setProblem(ctx, notSet(err))
			continue
		}
		c.created[key] = given["id"].(string)
		created[key] = given
	}
	out := object{"accountId": c.account, "created": nil, "notCreated": nil}
	if len(created) > 0 {
		out["created"] = created
	}
	if len(failed) > 0 {
		out["notCreated"] = failed
	}
	return c.respond(c.name, out)
}

func (c *call) uploadBlob(ctx context.Context, o object) (object, error) {
	sources, ok := o["data"].([]any)
	if !ok || len(sources) > maxDataSources {
		return nil, invalidProperties("data is a list of sources", "data")
	}
	mediaType, ok := o["type"].(string)
	if !ok && o["type"] != nil {
		return nil, invalidProperties("type is a string", "type")
	}
	var data bytes.Buffer
	for _, v := range sources {
		source, _ := v.(object)
		text, isText := source["data:asText"].(string)
		coded, isCoded := source["data:asBase64"].(string)
		id, isBlob := source["blobId"].(string)
		switch {
		case isText && !isCoded && !isBlob:
			data.WriteString(text)
		case isCoded && !isText && !isBlob:
			raw, err := base64.StdEncoding.DecodeString(coded)
			if err != nil {
				return nil, invalidProperties("that is no base64", "data")
			}
			data.Write(raw)
		case isBlob && !isText && !isCoded:
			if err := c.appendBlob(ctx, &data, id, source); err != nil {
				return nil, err
			}
		default:
			return nil, invalidProperties("a source is text, base64 or a blob", "data")
		}
		if data.Len() > maxBlobSet {
			return nil, &setError{kind: "tooLarge"}
		}
	}
	u, err := c.keep(ctx, c.box, mediaType, &data)
	if err != nil {
		return nil, err
	}
	return object{"id": blobID{upload: u.ID}.String(), "type": u.Type, "size": u.Size}, nil
}

func (c *call) appendBlob(ctx context.Context, to *bytes.Buffer, id string, source object) error {
	if made, ok := strings.CutPrefix(id, "#"); ok {
		id = c.created[made]
	}
	b, err := c.blob(ctx, c.box, id)
	if err != nil && fault.Of(err) == fault.NotFound {
		return &setError{kind: "blobNotFound", extra: object{"notFound": []string{id}}}
	}
	if err != nil {
		return err
	}
	offset, _ := source["offset"].(int64)
	n, limited := source["length"].(int64)
	if !limited {
		n = b.size - offset
	}
	if offset < 0 || n < 0 || offset+n > b.size {
		return invalidProperties("that is outside of the blob", "data")
	}
	if n > maxBlobSet {
		return &setError{kind: "tooLarge"}
	}
	r, err := b.reader(offset)
	if err == nil {
		_, err = io.CopyN(to, r, n)
	}
	return err
}
