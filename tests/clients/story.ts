// A student's story by the client that openapi-typescript makes; what is said at the end, the test reads.
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./api.js";

type Task = components["schemas"]["TaskOut"];
type NewTask = operations["createPracticeTask"]["requestBody"]["content"]["application/json"];

const api = createClient<paths>({ baseUrl: process.argv[2]! });
const email = "typescript@example.com", password = "correct horse battery staple";

async function given<T>(answer: Promise<{ data?: T; error?: { detail: string } }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(error?.detail ?? "nothing came");
  return data;
}

await given(api.POST("/auth/register", { body: { email, password } }));
const { access_token } = await given(
  api.POST("/auth/token", {
    body: { username: email, password, scope: "" },
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  }),
);
api.use({ onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${access_token}`) });

const wish: NewTask = { topic: "Calculus", difficulty: "medium" };
const task: Task = await given(api.POST("/practice-tasks", { body: wish }));
const done = await given(
  api.PATCH("/practice-tasks/{task_id}", {
    params: { path: { task_id: task.id } },
    body: { is_correct: true, actual_time_seconds: 42.5 },
  }),
);
const analytics = await given(api.GET("/users/me/analytics"));
const topics = await given(api.GET("/topics", { params: { query: { limit: 1 } } }));
const { error, response } = await api.POST("/practice-tasks", { body: { topic: "", difficulty: "hard" } });

console.log(
  JSON.stringify({
    predicted: task.correctness_prob,
    completed: done.completed,
    tasks: analytics.total?.tasks,
    topic: topics.items[0]?.name,
    refused: [response.status, error?.errors?.[0]?.field],
  }),
);
