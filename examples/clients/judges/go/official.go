package main

import (
	"context"
	"errors"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/respjson"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

const officialModule = "github.com/openai/openai-go/v3"

func officialClient(base, key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base), option.WithAPIKey(key))
}

func officialStatus(err error) (int, string) {
	var refusal *openai.Error
	if errors.As(err, &refusal) {
		return refusal.StatusCode, refusal.Message
	}
	return 0, ""
}

// officialChat judges by chat completions of openai-go.
func officialChat(base string, c *cases) *judge {
	return &judge{
		name: "openai-go", version: versionOf(officialModule), inbound: "chat", stop: "stop", tools: "tool_calls", length: "length",
		status: officialStatus, showsCost: true,
		ask: func(w wants) (*answer, error) {
			client, params := officialClient(base, w.key), officialChatParams(c, w)
			if !w.stream {
				completion, err := client.Chat.Completions.New(context.Background(), params)
				if err != nil {
					return nil, err
				}
				return officialChatAnswer(completion, completion.Usage), nil
			}
			params.StreamOptions.IncludeUsage = openai.Bool(true)
			stream := client.Chat.Completions.NewStreaming(context.Background(), params)
			var whole openai.ChatCompletionAccumulator
			var used openai.CompletionUsage
			for stream.Next() {
				chunk := stream.Current()
				if !whole.AddChunk(chunk) {
					return nil, errors.New("the accumulator refuses a chunk")
				}
				if len(chunk.Choices) == 0 {
					used = chunk.Usage
				}
			}
			if err := stream.Err(); err != nil {
				return nil, err
			}
			return officialChatAnswer(&whole.ChatCompletion, used), nil
		},
	}
}

func officialChatParams(c *cases, w wants) openai.ChatCompletionNewParams {
	params := openai.ChatCompletionNewParams{Model: w.model, MaxTokens: openai.Int(w.maxTokens)}
	if w.system != "" {
		params.Messages = append(params.Messages, openai.SystemMessage(w.system))
	}
	for _, t := range w.turns {
		switch t.kind {
		case "user":
			params.Messages = append(params.Messages, openai.UserMessage(t.text))
		case "assistant":
			params.Messages = append(params.Messages, openai.AssistantMessage(t.text))
		case "image":
			params.Messages = append(params.Messages, openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart(t.text),
				openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: c.imageURL()}),
			}))
		case "answer":
			params.Messages = append(params.Messages, t.answer.raw.(openai.ChatCompletionMessageParamUnion))
			for i, made := range t.answer.calls {
				params.Messages = append(params.Messages, openai.ToolMessage(t.results[i], made.id))
			}
		}
	}
	if w.tools {
		params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: c.Tool.Name, Description: openai.String(c.Tool.Description), Parameters: c.Tool.Parameters, Strict: openai.Bool(true),
		})}
	}
	if w.schema {
		params.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
			Name: c.Schema.Name, Schema: c.Schema.Schema, Strict: openai.Bool(true),
		}}
	}
	return params
}

func officialChatAnswer(completion *openai.ChatCompletion, used openai.CompletionUsage) *answer {
	choice := completion.Choices[0]
	a := &answer{
		text: choice.Message.Content, finish: choice.FinishReason, cost: extra(used.JSON.ExtraFields), raw: choice.Message.ToParam(),
		usage: usage{used.PromptTokens, used.PromptTokensDetails.CachedTokens, used.CompletionTokens},
	}
	for _, made := range choice.Message.ToolCalls {
		a.calls = append(a.calls, call{made.ID, made.Function.Name, made.Function.Arguments})
	}
	return a
}

// extra is the price, which OpenAI's API does not know.
func extra(fields map[string]respjson.Field) string {
	field := fields["cost"]
	return field.Raw()
}

// officialResponses judges by Responses of openai-go.
func officialResponses(base string, c *cases) *judge {
	return &judge{
		name: "openai-go", version: versionOf(officialModule), inbound: "responses", stop: "completed", tools: "completed", length: "incomplete: max_output_tokens",
		status: officialStatus, showsCost: true,
		ask: func(w wants) (*answer, error) {
			client, params := officialClient(base, w.key), officialResponsesParams(c, w)
			if !w.stream {
				response, err := client.Responses.New(context.Background(), params)
				if err != nil {
					return nil, err
				}
				return officialResponsesAnswer(response), nil
			}
			stream := client.Responses.NewStreaming(context.Background(), params)
			var last *responses.Response
			for stream.Next() {
				switch event := stream.Current(); event.Type {
				case "response.completed", "response.incomplete":
					last = &event.Response
				}
			}
			if err := stream.Err(); err != nil {
				return nil, err
			}
			if last == nil {
				return nil, errors.New("no last event")
			}
			return officialResponsesAnswer(last), nil
		},
	}
}

func officialResponsesParams(c *cases, w wants) responses.ResponseNewParams {
	params := responses.ResponseNewParams{Model: w.model, MaxOutputTokens: openai.Int(w.maxTokens), Store: openai.Bool(false)}
	if w.system != "" {
		params.Instructions = openai.String(w.system)
	}
	var input responses.ResponseInputParam
	for _, t := range w.turns {
		switch t.kind {
		case "user", "assistant":
			input = append(input, responses.ResponseInputItemParamOfMessage(t.text, responses.EasyInputMessageRole(t.kind)))
		case "image":
			input = append(input, responses.ResponseInputItemParamOfMessage(responses.ResponseInputMessageContentListParam{
				responses.ResponseInputContentParamOfInputText(t.text),
				{OfInputImage: &responses.ResponseInputImageParam{Detail: "auto", ImageURL: param.NewOpt(c.imageURL())}},
			}, "user"))
		case "answer":
			input = append(input, t.answer.raw.([]responses.ResponseInputItemUnionParam)...)
			for i, made := range t.answer.calls {
				result := responses.ResponseInputItemParamOfFunctionCallOutput(t.results[i])
				result.OfFunctionCallOutput.CallID = param.NewOpt(made.id)
				input = append(input, result)
			}
		}
	}
	params.Input.OfInputItemList = input
	if w.tools {
		params.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{
			Name: c.Tool.Name, Description: openai.String(c.Tool.Description), Parameters: c.Tool.Parameters, Strict: openai.Bool(true),
		}}}
	}
	if w.schema {
		params.Text.Format.OfJSONSchema = &responses.ResponseFormatTextJSONSchemaConfigParam{Name: c.Schema.Name, Schema: c.Schema.Schema, Strict: openai.Bool(true)}
	}
	return params
}

func officialResponsesAnswer(r *responses.Response) *answer {
	a := &answer{
		text: r.OutputText(), finish: string(r.Status), cost: extra(r.Usage.JSON.ExtraFields),
		usage: usage{r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens, r.Usage.OutputTokens},
	}
	if r.IncompleteDetails.Reason != "" {
		a.finish += ": " + r.IncompleteDetails.Reason
	}
	var raw []responses.ResponseInputItemUnionParam
	for _, item := range r.Output {
		switch item := item.AsAny().(type) {
		case responses.ResponseOutputMessage:
			back := item.ToParam()
			raw = append(raw, responses.ResponseInputItemUnionParam{OfOutputMessage: &back})
		case responses.ResponseFunctionToolCall:
			back := item.ToParam()
			raw = append(raw, responses.ResponseInputItemUnionParam{OfFunctionCall: &back})
			a.calls = append(a.calls, call{item.CallID, item.Name, item.Arguments})
		}
	}
	a.raw = raw
	return a
}
