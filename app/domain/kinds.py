"""Which kinds of model there are. A new network is its file (in `app/ml/kinds`) and a line in `NETWORKS`."""

NETWORKS = {
    "embedding_v2": "app.ml.embedding_model_v2:V2",
    "embedding_lstm": "app.ml.embedding_model:Lstm",
    "embedding_attention": "app.ml.kinds.attention:Attention",
    "embedding_joint": "app.ml.embedding_model_v2:JointV2",
}
BASE = "lnirt"  # answers from an installation's first finished task on, and on a tie
KINDS = (*NETWORKS, BASE)
TRAINED = ("embedding_v2", "embedding_lstm", BASE)  # unless the setting KINDS says otherwise
CHECKPOINT = "checkpoint.npz"  # the file of a version that a training can go on from
