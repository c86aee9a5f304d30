"""IFEval's 25 checks (Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models")."""
