package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	community "github.com/sashabaranov/go-openai"
)

// communityChat judges by chat completions of go-openai.
func communityChat(base string, c *cases) *judge {
	return &judge{
		name: "sashabaranov/go-openai", version: versionOf("github.com/sashabaranov/go-openai"), inbound: "chat", stop: "stop", tools: "tool_calls", length: "length",
		status: func(err error) (int, string) {
			var refusal *community.APIError
			if errors.As(err, &refusal) {
				return refusal.HTTPStatusCode, refusal.Message
			}
			return 0, ""
		},
		ask: func(w wants) (*answer, error) {
			config := community.DefaultConfig(w.key)
			config.BaseURL = base
			client, request := community.NewClientWithConfig(config), communityRequest(c, w)
			if !w.stream {
				response, err := client.CreateChatCompletion(context.Background(), request)
				if err != nil {
					return nil, err
				}
				choice := response.Choices[0]
				return communityAnswer(choice.Message, choice.FinishReason, &response.Usage), nil
			}
			request.StreamOptions = &community.StreamOptions{IncludeUsage: true}
			stream, err := client.CreateChatCompletionStream(context.Background(), request)
			if err != nil {
				return nil, err
			}
			defer stream.Close()
			return communityGather(stream)
		},
	}
}

// communityGather puts a stream together, which this client leaves to its users.
func communityGather(stream *community.ChatCompletionStream) (*answer, error) {
	message := community.ChatCompletionMessage{Role: "assistant"}
	var finish community.FinishReason
	var used *community.Usage
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if used == nil {
				return nil, errors.New("no usage was told")
			}
			return communityAnswer(message, finish, used), nil
		}
		if err != nil {
			return nil, err
		}
		if chunk.Usage != nil {
			used = chunk.Usage
		}
		for _, choice := range chunk.Choices {
			message.Content += choice.Delta.Content
			if choice.FinishReason != "" {
				finish = choice.FinishReason
			}
			for _, part := range choice.Delta.ToolCalls {
				if part.ID != "" {
					message.ToolCalls = append(message.ToolCalls, community.ToolCall{ID: part.ID, Type: part.Type, Function: community.FunctionCall{Name: part.Function.Name}})
				}
				if part.Index == nil || *part.Index >= len(message.ToolCalls) {
					return nil, errors.New("a part of no call")
				}
				message.ToolCalls[*part.Index].Function.Arguments += part.Function.Arguments
			}
		}
	}
}

func communityRequest(c *cases, w wants) community.ChatCompletionRequest {
	request := community.ChatCompletionRequest{Model: w.model, MaxTokens: int(w.maxTokens)}
	add := func(m community.ChatCompletionMessage) { request.Messages = append(request.Messages, m) }
	if w.system != "" {
		add(community.ChatCompletionMessage{Role: "system", Content: w.system})
	}
	for _, t := range w.turns {
		switch t.kind {
		case "user", "assistant":
			add(community.ChatCompletionMessage{Role: t.kind, Content: t.text})
		case "image":
			add(community.ChatCompletionMessage{Role: "user", MultiContent: []community.ChatMessagePart{
				{Type: "text", Text: t.text},
				{Type: "image_url", ImageURL: &community.ChatMessageImageURL{URL: c.imageURL()}},
			}})
		case "answer":
			add(t.answer.raw.(community.ChatCompletionMessage))
			for i, made := range t.answer.calls {
				add(community.ChatCompletionMessage{Role: "tool", Content: t.results[i], ToolCallID: made.id})
			}
		}
	}
	if w.tools {
		request.Tools = []community.Tool{{Type: "function", Function: &community.FunctionDefinition{
			Name: c.Tool.Name, Description: c.Tool.Description, Parameters: c.Tool.Parameters, Strict: true,
		}}}
	}
	if w.schema {
		schema, err := json.Marshal(c.Schema.Schema)
		if err != nil {
			panic(err)
		}
		request.ResponseFormat = &community.ChatCompletionResponseFormat{Type: "json_schema", JSONSchema: &community.ChatCompletionResponseFormatJSONSchema{
			Name: c.Schema.Name, Schema: json.RawMessage(schema), Strict: true,
		}}
	}
	return request
}

func communityAnswer(message community.ChatCompletionMessage, finish community.FinishReason, used *community.Usage) *answer {
	a := &answer{text: message.Content, finish: string(finish), raw: message}
	if a.usage = (usage{Input: int64(used.PromptTokens), Output: int64(used.CompletionTokens)}); used.PromptTokensDetails != nil {
		a.usage.Cached = int64(used.PromptTokensDetails.CachedTokens)
	}
	for _, made := range message.ToolCalls {
		a.calls = append(a.calls, call{made.ID, made.Function.Name, made.Function.Arguments})
	}
	return a
}
